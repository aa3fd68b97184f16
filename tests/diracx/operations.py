#!/usr/bin/env python3
"""Calls every operation of DiracX's generated Python client against a server and checks what comes back.

    venv/bin/python operations.py --url http://localhost:18000 \
        --user-credentials alice.json --admin-credentials adam.json --pilot-credentials pilot.json

The operations are listed by looking into the client: one that no check here called is a failure.
Run it with the Python of the virtual environment that requirements.txt fills; make credentials with login.py.
"""

import argparse
import asyncio
import inspect
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotModifiedError
from diracx.client.aio import AsyncDiracClient
from diracx.core.preferences import DiracxPreferences

import operations_auth
import operations_jobs
import operations_pilots
import operations_sandboxes
from checks import Checks

GROUPS = ("auth", "config", "jobs", "pilots", "rss", "well_known")


@dataclass
class Kit:
    """What all checks share: the server, clients of several users, and the operations called so far."""

    checks: Checks
    url: str
    vo: str
    redirect_uri: str
    login_user: str
    work: Path
    credentials: dict[str, Path]
    stack: AsyncExitStack
    called: set[str] = field(default_factory=set)
    clients: dict[str, AsyncDiracClient] = field(default_factory=dict)

    async def client(self, role: str) -> AsyncDiracClient:
        """The client of "user", "admin", "pilot" or any other name that has credentials; without them, anonymous."""
        if role not in self.clients:
            path = self.credentials.get(role, self.work / "no-credentials.json")
            preferences = DiracxPreferences(url=self.url, credentials_path=path)
            client = await self.stack.enter_async_context(AsyncDiracClient(diracx_preferences=preferences))
            for name in operation_names(client):
                self.record(client, name)
            self.clients[role] = client
        return self.clients[role]

    def record(self, client: AsyncDiracClient, name: str) -> None:
        group, method = name.split(".")
        operation = getattr(getattr(client, group), method)

        async def recorded(*args: Any, **kwargs: Any) -> Any:
            self.called.add(name)
            return await operation(*args, **kwargs)

        setattr(getattr(client, group), method, recorded)

    async def refused(self, what: str, call: Awaitable[Any], *statuses: int) -> HttpResponseError | None:
        """Checks that the call fails with one of these statuses."""
        try:
            answer = await call
        except HttpResponseError as error:
            self.checks.that(f"{what}: {' or '.join(map(str, statuses))}", error.status_code in statuses, error)
            return error
        self.checks.that(f"{what}: {' or '.join(map(str, statuses))}", False, f"accepted: {answer}")
        return None


def operation_names(client: AsyncDiracClient) -> set[str]:
    return {
        f"{group}.{name}"
        for group in GROUPS
        for name, method in inspect.getmembers(getattr(client, group), inspect.iscoroutinefunction)
        if not name.startswith("_")
    }


def with_response(response: Any, value: Any, headers: Any) -> tuple[Any, Any]:
    """For the operations' `cls` argument: the answer together with the HTTP response."""
    return value, response.http_response


async def well_known(kit: Kit) -> None:
    client = await kit.client("anonymous")
    configuration = await client.well_known.get_openid_configuration()
    endpoints = {
        "token_endpoint": "/api/auth/token",
        "userinfo_endpoint": "/api/auth/userinfo",
        "authorization_endpoint": "/api/auth/authorize",
        "device_authorization_endpoint": "/api/auth/device",
        "revocation_endpoint": "/api/auth/revoke",
        "jwks_uri": "/.well-known/jwks.json",
    }
    for name, path in endpoints.items():
        kit.checks.equal(f"openid-configuration: {name}", getattr(configuration, name), kit.url + path)
    kit.checks.equal("openid-configuration: PKCE method", configuration.code_challenge_methods_supported, ["S256"])
    kit.checks.that(
        "openid-configuration: device flow",
        "urn:ietf:params:oauth:grant-type:device_code" in configuration.grant_types_supported,
    )
    keys = await client.well_known.get_jwks()
    check_token(kit, keys, configuration.issuer)
    metadata = await client.well_known.get_installation_metadata()
    info = metadata.virtual_organizations[kit.vo]
    kit.checks.that("dirac-metadata: the default group is a group", info.default_group in info.groups, info.as_dict())
    kit.checks.that(
        "dirac-metadata: the default group's properties",
        "NormalUser" in info.groups[info.default_group].properties,
        info.as_dict(),
    )
    kit.checks.that("dirac-metadata: support message", bool(info.support.message), info.support.as_dict())
    text = await client.well_known.get_security_txt()
    kit.checks.that("security.txt has contact and expiry", "Contact:" in text and "Expires:" in text, text)


def check_token(kit: Kit, keys: dict[str, Any], issuer: str) -> None:
    """Verifies the user's access token with the published keys, as a third party would."""
    from joserfc import jwt
    from joserfc.jwk import KeySet

    kit.checks.that("jwks.json holds only public parts", all("d" not in key for key in keys["keys"]), "a private key")
    token = json.loads(kit.credentials["user"].read_text())["access_token"]
    decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["Ed25519"])
    kit.checks.equal("access token: algorithm", decoded.header["alg"], "Ed25519")
    claims = decoded.claims
    expected = {
        "jti",
        "exp",
        "iss",
        "sub",
        "vo",
        "dirac_group",
        "dirac_properties",
        "dirac_policies",
        "preferred_username",
    }
    kit.checks.that("access token: claims", expected <= set(claims), claims)
    kit.checks.equal("access token: issuer", claims["iss"], issuer)
    kit.checks.equal("access token: VO", claims["vo"], kit.vo)


async def config(kit: Kit) -> None:
    client = await kit.client("user")
    serve = client.config.serve_config
    value, response = await serve(cls=with_response)
    kit.checks.that("config has the VO", kit.vo in value["Registry"], value)
    await check_conditional(kit, "config", serve, response.headers)
    anonymous = await kit.client("anonymous")
    await kit.refused("config without a token", anonymous.config.serve_config(), 401)


async def check_conditional(kit: Kit, what: str, get: Callable[..., Awaitable[Any]], headers: Any) -> None:
    """The 304 answers: by ETag as the server wrote it, and by date."""
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    if not kit.checks.that(f"{what}: ETag and Last-Modified", bool(etag and modified), dict(headers)):
        return
    error = await kit.refused(f"{what}: unchanged by ETag", get(headers={"If-None-Match": etag}), 304)
    kit.checks.that(f"{what}: the client says so", isinstance(error, ResourceNotModifiedError), error)
    later = format_datetime(parsedate_to_datetime(modified) + timedelta(seconds=1), usegmt=True)
    await kit.refused(f"{what}: unchanged since a later date", get(if_modified_since=later), 304)
    earlier = format_datetime(parsedate_to_datetime(modified) - timedelta(days=1), usegmt=True)
    _, response = await get(if_modified_since=earlier, cls=with_response)
    kit.checks.equal(f"{what}: changed since an earlier date", response.status_code, 200)
    _, response = await get(headers={"If-None-Match": "another"}, cls=with_response)
    kit.checks.equal(f"{what}: another ETag", response.status_code, 200)


async def rss(kit: Kit) -> None:
    client = await kit.client("user")
    leaves = {
        "get_storage_status": {"read", "write", "check", "remove"},
        "get_compute_status": {"all"},
        "get_site_status": {"all"},
        "get_fts_status": {"all"},
    }
    for name, expected in leaves.items():
        get = getattr(client.rss, name)
        value, response = await get(cls=with_response)
        body = response.json()  # the client's models lose the leaves: each is one of two shapes
        kit.checks.equal(f"{name}: same names in model and body", set(value), set(body))
        for element, statuses in body.items():
            kit.checks.equal(f"{name}: {element}: kinds of status", set(statuses), expected)
            sound = [
                leaf["allowed"] is True or (leaf["allowed"] is False and isinstance(leaf["reason"], str))
                for leaf in statuses.values()
            ]
            kit.checks.that(f"{name}: {element}: each is allowed, or banned with a reason", all(sound), statuses)
        await check_conditional(kit, name, get, response.headers)
    anonymous = await kit.client("anonymous")
    await kit.refused("rss without a token", anonymous.rss.get_site_status(), 401)


async def run(kit: Kit) -> int:
    parts = [
        well_known,
        operations_auth.identity,
        operations_auth.device_flow,
        operations_auth.authorization_code_flow,
        operations_auth.refresh_by_client,
        operations_auth.refresh_tokens,
        config,
        rss,
        *operations_jobs.PARTS,
        *operations_sandboxes.PARTS,
        *operations_pilots.PARTS,
        operations_auth.reuse_detection,  # last: it revokes every token of the login user
    ]
    async with kit.stack:
        for part in parts:
            with kit.checks.part(part.__name__):
                await part(kit)
        missed = operation_names(await kit.client("anonymous")) - kit.called
        kit.checks.that("every operation of the client was called", not missed, sorted(missed))
    return kit.checks.exit_code()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Calls every operation of DiracX's Python client and checks the answers."
    )
    parser.add_argument("--url", required=True, help="the server, e.g. http://localhost:18000")
    parser.add_argument("--vo", default="vo.spinor.test", help="virtual organisation (default: %(default)s)")
    parser.add_argument(
        "--user-credentials", required=True, type=Path, help="of a user with NormalUser, e.g. alice in group user"
    )
    parser.add_argument(
        "--admin-credentials", required=True, type=Path, help="of a user with JobAdministrator and ServiceAdministrator"
    )
    parser.add_argument(
        "--pilot-credentials", type=Path, help="of an identity with GenericPilot (optional: some checks are left out)"
    )
    parser.add_argument(
        "--login-user",
        default="anna",
        help="a third user, logged in here through the browser, who loses all sessions at the end (default: %(default)s)",
    )
    parser.add_argument(
        "--redirect-uri",
        default="http://127.0.0.1:18999/cb",
        help="a redirect address that the server allows; nobody need listen there (default: %(default)s)",
    )
    arguments = parser.parse_args()
    credentials = {
        "user": arguments.user_credentials,
        "admin": arguments.admin_credentials,
        "pilot": arguments.pilot_credentials,
    }
    with tempfile.TemporaryDirectory(prefix="diracx-operations-") as work:
        kit = Kit(
            checks=Checks(),
            url=arguments.url.rstrip("/"),
            vo=arguments.vo,
            redirect_uri=arguments.redirect_uri,
            login_user=arguments.login_user,
            work=Path(work),
            credentials={role: path.resolve() for role, path in credentials.items() if path},
            stack=AsyncExitStack(),
        )
        return asyncio.run(run(kit))


if __name__ == "__main__":
    sys.exit(main())
