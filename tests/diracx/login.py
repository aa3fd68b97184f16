#!/usr/bin/env python3
"""Logs in with the device flow and writes a credentials file as DiracX's clients read it.

    python3 login.py --url http://localhost:18000 --vo vo.spinor.test --group user --user alice --credentials alice.json

Standard library only; the browser's part is played by browser.py.
"""

import argparse
import base64
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from browser import Browser

CLIENT_ID = "myDIRACClientID"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GRACE_SECONDS = 15  # DiracX's clients write the expiry this much early


def post(url: str, data: bytes = b"") -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        body = error.read().decode(errors="replace")
        is_json = error.headers.get_content_type() == "application/json"
        return error.code, json.loads(body) if is_json else {"detail": body}


def token_request(url: str, **form: str) -> tuple[int, dict]:
    """Posts a form to the token endpoint and returns the status and the JSON answer."""
    return post(f"{url}/api/auth/token", urllib.parse.urlencode({"client_id": CLIENT_ID, **form}).encode())


def claims_of(token: str) -> dict:
    """What a JWT says; its signature is not looked at."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def scope_of(vo: str, group: str | None) -> str:
    return f"vo:{vo} group:{group}" if group else f"vo:{vo}"


def log_in(url: str, vo: str, group: str | None, user: str) -> dict:
    """Goes through a whole device flow and returns the token answer."""
    query = urllib.parse.urlencode({"client_id": CLIENT_ID, "scope": scope_of(vo, group)})
    status, flow = post(f"{url}/api/auth/device?{query}")
    if status != 200:
        raise RuntimeError(f"device flow refused: {status} {flow}")
    page = Browser(user).visit(flow["verification_uri_complete"])
    if page.status != 200:
        raise RuntimeError(f"login ended at {page.url} with {page.status}: {page.body[:500]}")
    for _ in range(10):
        status, answer = token_request(url, grant_type=DEVICE_GRANT, device_code=flow["device_code"])
        if answer.get("error") != "authorization_pending":
            break
        time.sleep(1)
    if status != 200:
        raise RuntimeError(f"no token: {status} {answer}")
    return answer


def save(tokens: dict, path: Path) -> None:
    credentials = {
        "access_token": tokens["access_token"],
        "refresh_token": tokens["refresh_token"],
        "expires_on": int(time.time()) + tokens["expires_in"] - GRACE_SECONDS,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(credentials, file)


def main() -> int:
    parser = argparse.ArgumentParser(description="Logs in with the device flow and writes a credentials file.")
    parser.add_argument("--url", required=True, help="the server, e.g. http://localhost:18000")
    parser.add_argument("--vo", default="vo.spinor.test", help="virtual organisation (default: %(default)s)")
    parser.add_argument("--group", help="group in it (default: the VO's default group)")
    parser.add_argument("--user", default="alice", help="user at the provider (default: %(default)s)")
    parser.add_argument("--credentials", required=True, type=Path, help="file to write")
    arguments = parser.parse_args()
    try:
        tokens = log_in(arguments.url.rstrip("/"), arguments.vo, arguments.group, arguments.user)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    save(tokens, arguments.credentials)
    print(f"{arguments.user}'s credentials are in {arguments.credentials}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
