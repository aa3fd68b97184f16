"""Checks of the client's auth operations. They log in as the kit's login user, whose tokens end up revoked."""

import base64
import hashlib
import json
import secrets
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from azure.core.exceptions import DecodeError
from diracx.client.models import DeviceFlowErrorResponse

from browser import Browser
from login import CLIENT_ID, claims_of, log_in, save, token_request

if TYPE_CHECKING:
    from diracx.client.aio import async_operations

    from operations import Kit


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def same_id(one: str, other: str) -> bool:
    return uuid.UUID(one) == uuid.UUID(other)


async def identity(kit: "Kit") -> None:
    expected = claims_of(json.loads(kit.credentials["user"].read_text())["access_token"])
    info = await (await kit.client("user")).auth.userinfo()
    for name in ("sub", "vo", "dirac_group", "preferred_username"):
        kit.checks.equal(f"userinfo: {name}", getattr(info, name), expected[name])
    kit.checks.equal("userinfo: properties", sorted(info.properties), sorted(expected["dirac_properties"]))
    admin = await (await kit.client("admin")).auth.userinfo()
    needed = {"JobAdministrator", "ServiceAdministrator"}
    kit.checks.that("userinfo: the administrator's properties", needed <= set(admin.properties), admin.as_dict())
    anonymous = await kit.client("anonymous")
    await kit.refused("userinfo without a token", anonymous.auth.userinfo(), 401)


async def redirect_of(kit: "Kit", what: str, call: object) -> str:
    """Where an operation made for browsers redirects to: the client itself must not follow, it has no cookies."""
    error = await kit.refused(what, call, 307)
    assert error is not None and error.response is not None
    return error.response.headers["Location"]


async def finished_page(auth: "async_operations.AuthOperations") -> str:
    """The page for humans. DiracX sends it without a content type, so that its own client takes it for broken JSON."""
    try:
        return str(await auth.finished())
    except DecodeError as error:
        assert error.response is not None and error.response.status_code == 200
        return error.response.text()


async def device_flow(kit: "Kit") -> None:
    """The device flow one operation at a time; only the provider's own pages are left to the browser."""
    auth = (await kit.client("anonymous")).auth
    flow = await auth.initiate_device_flow(client_id=CLIENT_ID, scope=f"vo:{kit.vo}")
    kit.checks.equal("device flow: verification_uri", flow.verification_uri, f"{kit.url}/api/auth/device")
    complete = f"{flow.verification_uri}?user_code={flow.user_code}"
    kit.checks.equal("device flow: verification_uri_complete", flow.verification_uri_complete, complete)
    pending = await auth.get_oidc_token(flow.device_code, CLIENT_ID)
    kit.checks.that(
        "device flow: pending at first",
        isinstance(pending, DeviceFlowErrorResponse) and pending.error == "authorization_pending",
        pending,
    )
    call = auth.do_device_flow(user_code=flow.user_code, permit_redirects=False)
    provider = await redirect_of(kit, "device flow: to the provider", call)
    asked = query_of(provider)
    kit.checks.that(
        "device flow: a code request with PKCE",
        (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256"),
        provider,
    )
    end = Browser(kit.login_user, stop_at=f"{kit.url}/api/auth/device/complete").visit(provider)
    back = query_of(end.url)
    call = auth.finish_device_flow(code=back["code"], state=back["state"], permit_redirects=False)
    finished = await redirect_of(kit, "device flow: back from the provider", call)
    kit.checks.equal("device flow: finished page", urlsplit(finished).path, "/api/auth/device/complete/finished")
    page = await finished_page(auth)
    kit.checks.that("device flow: the finished page asks to close the window", "close" in page, page)
    tokens = await auth.get_oidc_token(flow.device_code, CLIENT_ID)
    kit.checks.that("device flow: tokens", bool(tokens.access_token and tokens.refresh_token), tokens)
    kit.checks.equal(
        "device flow: the right user", claims_of(tokens.access_token)["preferred_username"], kit.login_user
    )
    save(tokens.model_dump(), kit.work / "login.json")
    kit.credentials["login"] = kit.work / "login.json"
    again = await auth.get_oidc_token(flow.device_code, CLIENT_ID)
    kit.checks.that("device flow: the device code works once", isinstance(again, DeviceFlowErrorResponse), again)
    for scope in (
        "vo:no.such.vo",
        f"vo:{kit.vo} group:no_such_group",
        f"vo:{kit.vo} property:NoSuch",
        "group:user",
        "nonsense",
    ):
        await kit.refused(
            f"device flow for {scope!r}", auth.initiate_device_flow(client_id=CLIENT_ID, scope=scope), 400
        )
    other = auth.initiate_device_flow(client_id="other", scope=f"vo:{kit.vo}")
    await kit.refused("device flow of an unknown client", other, 400)
    unknown = auth.do_device_flow(user_code="BBBBBBBB", permit_redirects=False)
    await kit.refused("device flow with an unknown user code", unknown, 400)
    forged = auth.finish_device_flow(code="forged", state="forged", permit_redirects=False)
    await kit.refused("device flow with a forged state", forged, 400)


async def authorization_code_flow(kit: "Kit") -> None:
    auth = (await kit.client("anonymous")).auth
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    request = {
        "response_type": "code",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "client_id": CLIENT_ID,
        "redirect_uri": kit.redirect_uri,
        "scope": f"vo:{kit.vo}",
        "state": "the client's state",
        "permit_redirects": False,
    }
    provider = await redirect_of(kit, "code flow: to the provider", auth.initiate_authorization_flow(**request))
    end = Browser(kit.login_user, stop_at=f"{kit.url}/api/auth/authorize/complete").visit(provider)
    back = query_of(end.url)
    call = auth.complete_authorization_flow(code=back["code"], state=back["state"], permit_redirects=False)
    location = await redirect_of(kit, "code flow: back from the provider", call)
    kit.checks.that("code flow: back at the client's address", location.startswith(kit.redirect_uri), location)
    answer = query_of(location)
    kit.checks.equal("code flow: the client's state", answer["state"], request["state"])
    grant = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "redirect_uri": kit.redirect_uri,
        "code_verifier": verifier,
    }
    status, _ = token_request(kit.url, **{**grant, "code": "x" * 43})
    kit.checks.that("code flow: another code is refused", status >= 400, status)
    status, tokens = token_request(kit.url, **grant)
    kit.checks.equal("code flow: tokens", status, 200)
    kit.checks.equal(
        "code flow: the right user", claims_of(tokens["access_token"])["preferred_username"], kit.login_user
    )
    status, _ = token_request(kit.url, **grant)
    kit.checks.that("code flow: the code works once", status in (400, 401), status)
    elsewhere = auth.initiate_authorization_flow(**{**request, "redirect_uri": "http://evil.example/cb"})
    await kit.refused("code flow to an address that is not allowed", elsewhere, 400)


async def refresh_by_client(kit: "Kit") -> None:
    """The client refreshes a token that is about to expire, by itself, and rewrites the file."""
    path: Path = kit.work / "expiring.json"
    save(log_in(kit.url, kit.vo, None, kit.login_user), path)
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "expires_on": int(time.time()) + 10}))
    kit.credentials["expiring"] = path
    info = await (await kit.client("expiring")).auth.userinfo()
    kit.checks.equal("refresh: the same user", info.preferred_username, kit.login_user)
    after = json.loads(path.read_text())
    kit.checks.that("refresh: a new access token", after["access_token"] != before["access_token"])
    kit.checks.that("refresh: a new refresh token", after["refresh_token"] != before["refresh_token"])
    old, new = (claims_of(tokens["refresh_token"])["exp"] for tokens in (before, after))
    kit.checks.that("refresh: the session is not prolonged", abs(new - old) <= 5, (old, new))


async def refresh_tokens(kit: "Kit") -> None:
    auth = (await kit.client("login")).auth
    mine = claims_of(json.loads(kit.credentials["login"].read_text())["refresh_token"])["jti"]
    listed = await auth.get_refresh_tokens()
    entry = next((token for token in listed if same_id(token["JTI"], mine)), None)
    if kit.checks.that("refresh tokens: the login is listed", entry is not None, listed):
        kit.checks.equal("refresh tokens: status", entry["Status"], 1)
        kit.checks.that("refresh tokens: scope", f"vo:{kit.vo}" in entry["Scope"], entry)
    subjects = {token["Sub"] for token in listed}
    kit.checks.equal("refresh tokens: only one's own", subjects, {(await auth.userinfo()).sub})
    user = (await kit.client("user")).auth
    await kit.refused("revoking another's refresh token", user.revoke_refresh_token_by_jti(mine), 403)
    await kit.refused("revoking an unknown refresh token", auth.revoke_refresh_token_by_jti(str(uuid.uuid4())), 404)
    await kit.refused("revoking no refresh token", auth.revoke_refresh_token_by_jti("nonsense"), 400, 422)
    kit.checks.equal("revoked by id", await auth.revoke_refresh_token_by_jti(mine), "Refresh token revoked")
    left = await auth.get_refresh_tokens()
    kit.checks.that("a revoked token is listed no more", not any(same_id(token["JTI"], mine) for token in left), left)
    tokens = log_in(kit.url, kit.vo, None, kit.login_user)
    revoke = auth.revoke_refresh_token_by_refresh_token
    for token in (tokens["refresh_token"], "nonsense"):  # RFC 7009: nonsense is as good as revoked
        kit.checks.equal("revoked by token", await revoke(token=token, client_id=CLIENT_ID), "Refresh token revoked")
    gone = claims_of(tokens["refresh_token"])["jti"]
    left = await auth.get_refresh_tokens()
    kit.checks.that("that one is listed no more", not any(same_id(token["JTI"], gone) for token in left), left)


async def reuse_detection(kit: "Kit") -> None:
    """A refresh token used twice costs its user every session; nobody else is touched."""
    first, bystander = (log_in(kit.url, kit.vo, None, kit.login_user)["refresh_token"] for _ in range(2))
    status, rotated = token_request(kit.url, grant_type="refresh_token", refresh_token=first)
    kit.checks.equal("a refresh token works", status, 200)
    status, answer = token_request(kit.url, grant_type="refresh_token", refresh_token=first)
    kit.checks.equal("a refresh token works once", status, 401)
    kit.checks.that("the refusal has a detail", isinstance(answer.get("detail"), str), answer)
    for what, token in (("the rotated token", rotated["refresh_token"]), ("another session's", bystander)):
        status, _ = token_request(kit.url, grant_type="refresh_token", refresh_token=token)
        kit.checks.equal(f"after the reuse {what} is refused", status, 401)
    tokens = log_in(kit.url, kit.vo, None, kit.login_user)
    auth = (await kit.client("anonymous")).auth
    await auth.revoke_refresh_token_by_refresh_token(token=tokens["refresh_token"], client_id=CLIENT_ID)
    status, _ = token_request(kit.url, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    kit.checks.equal("a refresh token revoked by its owner is refused", status, 401)
    others = await (await kit.client("admin")).auth.get_refresh_tokens()
    kit.checks.that("other users keep their tokens", len(others) > 0, others)
    status, _ = token_request(kit.url, grant_type="refresh_token", refresh_token="nonsense")
    kit.checks.that("nonsense is no refresh token", status in (400, 401), status)
    access = json.loads(kit.credentials["user"].read_text())["access_token"]
    status, answer = token_request(kit.url, grant_type="refresh_token", refresh_token=access)
    kit.checks.that("an access token is no refresh token", "access_token" not in answer, (status, answer))
