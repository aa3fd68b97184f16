#!/usr/bin/env python3
"""Starts the provider on a free port and checks logins, claims, changed memberships, blocking and key rotation."""

import base64
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from browser import Browser  # noqa: E402

CALLBACK = "http://127.0.0.1:9/cb"  # port 9: nobody listens, the browser stops there
SECRET = "test-secret"
SCOPES = "openid profile email eduperson_entitlement entitlements offline_access"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def request(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def part_of_jwt(token: str, index: int) -> dict:
    part = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class ProviderTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        port = free_port()
        cls.issuer = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "PORT": str(port), "CLIENT_SECRET": SECRET, "REDIRECT_URIS": CALLBACK}
        cls.server = subprocess.Popen(["node", HERE / "server.mjs"], env=environment, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                cls.endpoints = request(f"{cls.issuer}/.well-known/openid-configuration")[1]
                return
            except urllib.error.URLError:
                time.sleep(0.1)
        raise RuntimeError("the provider did not start: npm ci in provider/ first")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.terminate()
        cls.server.wait()

    def token(self, client: str, **form: str) -> tuple[int, dict]:
        return self.post("token_endpoint", client, **form)

    def post(self, endpoint: str, client: str, **form: str) -> tuple[int, dict]:
        headers = {}
        if client == "spinor":
            headers["Authorization"] = "Basic " + base64.b64encode(f"spinor:{SECRET}".encode()).decode()
        else:
            form["client_id"] = client
        return request(self.endpoints[endpoint], urllib.parse.urlencode(form).encode(), headers)

    def login(self, user: str, client: str = "spinor") -> dict:
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "client_id": client,
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": SCOPES,
            "state": "s",
            "prompt": "consent",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        end = Browser(user).visit(f"{self.endpoints['authorization_endpoint']}?{urllib.parse.urlencode(query)}")
        answer = urllib.parse.parse_qs(urllib.parse.urlsplit(end.url).query)
        self.assertIn("code", answer, end)
        self.assertEqual(answer["state"], ["s"])
        status, tokens = self.token(
            client,
            grant_type="authorization_code",
            code=answer["code"][0],
            redirect_uri=CALLBACK,
            code_verifier=verifier,
        )
        self.assertEqual(status, 200, tokens)
        return tokens

    def userinfo(self, tokens: dict) -> tuple[int, dict]:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return request(self.endpoints["userinfo_endpoint"], None, headers)

    def change(self, path: str, **change: object) -> dict:
        status, answer = request(f"{self.issuer}/test/{path}", json.dumps(change).encode())
        self.assertEqual(status, 200, answer)
        return answer

    def test_claims_in_id_token_and_userinfo(self) -> None:
        for client in ("spinor", "spinor-public"):
            tokens = self.login("adam", client)
            claims = part_of_jwt(tokens["id_token"], 1)
            self.assertRegex(claims["sub"], r"^[0-9a-f]+@egi\.eu$")
            expected = {
                "preferred_username": "adam",
                "name": "Adam Admin",
                "email": "adam@example.org",
                "eduperson_entitlement": [
                    f"urn:mace:egi.eu:group:vo.spinor.test:role={role}#aai.egi.eu" for role in ("member", "admin")
                ],
                "entitlements": [
                    f"urn:geant:egi.eu:group:vo.spinor.test:role={role}#aai.egi.eu" for role in ("member", "admin")
                ],
                "wlcg.groups": ["/vo.spinor.test", "/vo.spinor.test/member", "/vo.spinor.test/admin"],
            }
            status, userinfo = self.userinfo(tokens)
            self.assertEqual(status, 200)
            for name, value in expected.items():
                self.assertEqual(claims[name], value)
                self.assertEqual(userinfo[name], value)

    def test_opaque_token_is_introspected(self) -> None:
        tokens = self.login("bob")
        self.assertNotIn(".", tokens["access_token"])
        _, answer = self.post("introspection_endpoint", "spinor", token=tokens["access_token"])
        self.assertTrue(answer["active"])
        self.assertEqual(answer["sub"], part_of_jwt(tokens["id_token"], 1)["sub"])
        self.assertEqual(self.post("introspection_endpoint", "spinor", token="nonsense")[1], {"active": False})

    def test_changed_membership_is_seen_at_once(self) -> None:
        tokens = self.login("mallory")
        self.assertEqual(self.userinfo(tokens)[1]["entitlements"], [])
        self.change("users/mallory", entitlements=["vo.spinor.test/member"])
        self.assertEqual(self.userinfo(tokens)[1]["wlcg.groups"], ["/vo.spinor.test", "/vo.spinor.test/member"])
        _, refreshed = self.token("spinor", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        self.assertEqual(len(part_of_jwt(refreshed["id_token"], 1)["entitlements"]), 1)
        self.change("users/mallory", entitlements=[])
        self.assertEqual(self.userinfo(tokens)[1]["entitlements"], [])

    def test_blocked_user_loses_everything(self) -> None:
        tokens = self.login("anna")
        self.change("users/anna", blocked=True)
        self.assertEqual(self.userinfo(tokens)[0], 401)
        self.assertEqual(
            self.post("introspection_endpoint", "spinor", token=tokens["access_token"])[1], {"active": False}
        )
        status, answer = self.token("spinor", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        self.assertEqual((status, answer["error"]), (400, "invalid_grant"))
        with self.assertRaises(AssertionError):
            self.login("anna")
        self.change("users/anna", blocked=False)
        self.login("anna")

    def test_rotated_keys(self) -> None:
        def published() -> list[str]:
            return [key["kid"] for key in request(self.endpoints["jwks_uri"])[1]["keys"]]

        tokens = self.login("alice")
        old = part_of_jwt(tokens["id_token"], 0)["kid"]
        kept = self.change("rotate")["kids"]
        self.assertEqual(published(), kept)
        self.assertIn(old, kept)
        self.assertEqual(part_of_jwt(self.login("alice")["id_token"], 0)["kid"], kept[0])
        self.assertEqual(self.userinfo(tokens)[0], 200)
        alone = self.change("rotate", keep=False)["kids"]
        self.assertEqual(published(), alone)
        self.assertEqual(len(alone), 1)
        _, refreshed = self.token("spinor", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
        self.assertEqual(part_of_jwt(refreshed["id_token"], 0)["kid"], alone[0])

    def test_wrong_secret_and_missing_pkce(self) -> None:
        headers = {"Authorization": "Basic " + base64.b64encode(b"spinor:wrong").decode()}
        status, _ = request(self.endpoints["token_endpoint"], b"grant_type=refresh_token&refresh_token=x", headers)
        self.assertEqual(status, 401)
        query = urllib.parse.urlencode(
            {"client_id": "spinor", "response_type": "code", "redirect_uri": CALLBACK, "scope": "openid"}
        )
        end = Browser("alice").visit(f"{self.endpoints['authorization_endpoint']}?{query}")
        self.assertIn("error=invalid_request", end.url)


if __name__ == "__main__":
    unittest.main()
