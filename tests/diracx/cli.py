#!/usr/bin/env python3
"""Drives the unmodified `dirac` command against a server, as a user would: login, submission, search, outputs, logout.

    venv/bin/python cli.py --url http://localhost:18000 --user alice

Run it with the Python of the virtual environment that requirements.txt fills.
"""

import argparse
import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterable
from pathlib import Path

from browser import Browser
from checks import Checks
from login import claims_of

FINAL = {"Done", "Failed", "Killed", "Deleted"}
STATUSES = FINAL | set(
    "Submitting Received Checking Staging Waiting Matched Running Stalled Completing Completed Rescheduled".split()
)
POLL_SECONDS = 3
SCRIPT = """#!/bin/sh
# Copies what came with it, so that the output proves that the input sandbox arrived whole.
tr a-z A-Z < greeting.txt > result.txt
echo "made result.txt"
"""


class Dirac:
    """The `dirac` command of this virtual environment, with a home folder of its own."""

    def __init__(self, url: str, home: Path) -> None:
        self.program = str(Path(sys.executable).parent / "dirac")
        self.credentials = home / ".cache" / "diracx" / "credentials.json"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "DIRACX_URL": url,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            **{name: os.environ[name] for name in ("DIRACX_CA_PATH", "SSL_CERT_FILE") if name in os.environ},
        }

    def run(self, *arguments: str, output_format: str = "JSON") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, "--output-format", output_format, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str) -> object:
        done = self.run(*arguments)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            raise RuntimeError(f"dirac {' '.join(arguments)} printed no JSON: {done.stdout}{done.stderr}") from None

    def login(self, vo: str, user: str) -> tuple[int, str, int]:
        """Runs `dirac login VO`; returns its exit code, what it printed, and the status of the browser's last page."""
        command = [self.program, "login", vo]
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            printed, page_status = "", 0
            for line in process.stdout:
                printed += line
                if match := re.search(r"Now go to: (\S+)", line):
                    page_status = Browser(user).visit(match.group(1)).status
        return process.returncode, printed, page_status

    def jobs(self, ids: Iterable[int], *parameters: str) -> dict[int, dict]:
        wanted = [word for name in ("JobID", *parameters) for word in ("--parameter", name)]
        condition = f"JobID in {json.dumps(list(ids))}"
        rows = self.json("jobs", "search", "--condition", condition, "--per-page", "100", *wanted)
        assert isinstance(rows, list)
        return {row["JobID"]: row for row in rows}

    def submit(self, *files: Path) -> list[int]:
        done = self.run("jobs", "submit", *map(str, files))
        match = re.search(r"Inserted (\d+) jobs with ids: ([\d,]+)", done.stdout)
        if not match:
            raise RuntimeError(f"dirac jobs submit: {done.stdout}{done.stderr}")
        ids = [int(number) for number in match.group(2).split(",")]
        assert len(ids) == int(match.group(1))
        return ids


class Sandboxes:
    """diracx-api, as the user that `dirac login` logged in."""

    def __init__(self, url: str, credentials: Path) -> None:
        os.environ.update(DIRACX_URL=url, DIRACX_CREDENTIALS_PATH=str(credentials))

    def upload(self, paths: list[Path]) -> str:
        from diracx.api.jobs import create_sandbox

        return asyncio.run(create_sandbox(paths))

    def fetch_output(self, job_id: int, folder: Path) -> dict[str, str]:
        """Downloads a job's output sandboxes and returns its files by name."""
        asyncio.run(self.download(job_id, folder))
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

    async def download(self, job_id: int, folder: Path) -> None:
        from diracx.api.jobs import download_sandbox
        from diracx.client.aio import AsyncDiracClient

        folder.mkdir(parents=True)
        async with AsyncDiracClient() as client:
            for pfn in await client.jobs.get_job_sandbox(job_id, "output"):
                await download_sandbox(pfn, folder, client=client)


class Session:
    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self.checks = Checks()
        self.url: str = arguments.url.rstrip("/")
        self.vo: str = arguments.vo
        self.user: str = arguments.user
        self.wait: int = arguments.wait_done
        self.work = work
        self.home = work / "home"
        self.home.mkdir()
        self.dirac = Dirac(self.url, self.home)
        self.names: dict[int, str] = {}  # of each job
        self.expected: dict[int, dict[str, str]] = {}  # what its output files must be

    def log_in(self) -> None:
        refused = self.dirac.run("login", "no.such.vo")
        self.checks.that("login to an unknown VO is refused", "Unknown VO no.such.vo" in refused.stderr, refused.stderr)
        code, printed, page_status = self.dirac.login(self.vo, self.user)
        self.checks.equal("the browser's part of the login ends well", page_status, 200)
        self.checks.that("dirac login says so", code == 0 and "Login successful!" in printed, printed)
        saved = json.loads(self.dirac.credentials.read_text())
        self.checks.equal("the credentials are complete", set(saved), {"access_token", "refresh_token", "expires_on"})
        mode = stat.S_IMODE(self.dirac.credentials.stat().st_mode)
        self.checks.equal("only the user can read the credentials", oct(mode), "0o600")

    def who_am_i(self) -> None:
        identity = self.dirac.json("whoami")
        assert isinstance(identity, dict)
        self.checks.equal("whoami: user", identity["preferred_username"], self.user)
        self.checks.equal("whoami: VO", identity["vo"], self.vo)
        self.checks.that("whoami: sub is VO:SUB", identity["sub"].startswith(f"{self.vo}:"), identity)
        self.checks.that("whoami: may submit jobs", "NormalUser" in identity["properties"], identity)

    def dump_configuration(self) -> None:
        configuration = self.dirac.json("config", "dump")
        assert isinstance(configuration, dict)
        self.checks.that("config dump has the VO", self.vo in configuration["Registry"], configuration)

    def write(self, name: str, content: str) -> Path:
        path = self.work / name
        path.write_text(content)
        return path

    def submit(self) -> None:
        outputs = 'StdOutput = "std.out"; StdError = "std.err"; '
        echoes = [
            self.write(
                f"echo-{word}.jdl",
                f'JobName = "kit-echo-{word}"; Executable = "/bin/echo"; Arguments = "hello {word}"; {outputs}'
                'OutputSandbox = {"std.out", "std.err"};',
            )
            for word in ("one", "two")
        ]
        parametric = self.write(
            "parametric.jdl",
            'JobName = "kit-parametric-%n"; Executable = "/bin/echo"; Arguments = "value %s"; '
            f"Parameters = 5; ParameterStart = 1; ParameterStep = 2; {outputs}"
            'OutputSandbox = {"std.out"};',
        )
        script = self.write("shout.sh", SCRIPT)
        script.chmod(0o755)
        greeting = self.write("greeting.txt", "good morning\n")
        pfn = Sandboxes(self.url, self.dirac.credentials).upload([script, greeting])
        self.checks.that("an input sandbox has a PFN", pfn.startswith("SB:"), pfn)
        sandboxed = self.write(
            "sandboxed.jdl",
            f'JobName = "kit-sandboxed"; Executable = "shout.sh"; InputSandbox = {{"{pfn}"}}; {outputs}'
            'OutputSandbox = {"std.out", "result.txt"};',
        )
        one, two, shout = self.dirac.submit(*echoes, sandboxed)
        values = self.dirac.submit(parametric)
        self.checks.equal("a parametric description becomes five jobs", len(values), 5)
        self.expected = {
            one: {"std.out": "hello one\n"},
            two: {"std.out": "hello two\n"},
            shout: {"std.out": "made result.txt\n", "result.txt": "GOOD MORNING\n"},
            **{job_id: {"std.out": f"value {1 + 2 * index}\n"} for index, job_id in enumerate(values)},
        }
        self.checks.equal("all job ids differ", len(self.expected), 8)
        self.names = {one: "kit-echo-one", two: "kit-echo-two", shout: "kit-sandboxed"}
        self.names |= {job_id: f"kit-parametric-{index}" for index, job_id in enumerate(values)}

    def search(self) -> None:
        rows = self.dirac.jobs(self.names, "Status", "JobName", "Owner", "VO")
        self.checks.equal(
            "search finds every job by its name", {i: row["JobName"] for i, row in rows.items()}, self.names
        )
        owners = {(row["Owner"], row["VO"]) for row in rows.values()}
        self.checks.equal("search shows the owner", owners, {(self.user, self.vo)})
        seen = {row["Status"] for row in rows.values()}
        self.checks.that("every status is one of DiracX's", seen <= STATUSES, seen)
        first = min(self.names)
        named = self.dirac.json(
            "jobs", "search", "--condition", f"JobID eq {first}", "--condition", f"JobName eq {self.names[first]}"
        )
        self.checks.that(
            "two conditions both hold", isinstance(named, list) and [j["JobID"] for j in named] == [first], named
        )
        default = "JobID Status MinorStatus ApplicationStatus JobGroup Site JobName Owner LastUpdateTime".split()
        self.checks.that(
            "the default columns come back", isinstance(named, list) and set(named[0]) == set(default), named
        )
        self.paging()

    def paging(self) -> None:
        condition = f"JobID in {json.dumps(list(self.names))}"
        pages = [
            self.dirac.json("jobs", "search", "--condition", condition, "--page", str(page), "--per-page", "5")
            for page in (1, 2)
        ]
        ids = [row["JobID"] for page in pages if isinstance(page, list) for row in page]
        self.checks.equal(
            "two pages hold 5 and 3 jobs", [len(page) for page in pages if isinstance(page, list)], [5, 3]
        )
        self.checks.equal("together they hold every job once", sorted(ids), sorted(self.names))
        options = ("--condition", condition, "--per-page", "5")
        table = self.dirac.run("jobs", "search", *options, output_format="RICH").stdout
        self.checks.that("the table's caption has the total", "Showing 0-4 of 8 jobs" in table, table)

    def wait_until_done(self) -> None:
        deadline = time.monotonic() + self.wait
        while True:
            rows = self.dirac.jobs(self.names, "Status", "MinorStatus", "ApplicationStatus")
            if all(row["Status"] in FINAL for row in rows.values()) or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        self.checks.equal("all jobs are listed at the end", set(rows), set(self.names))
        for job_id, row in rows.items():
            self.checks.that(f"job {job_id} ({self.names[job_id]}) is Done", row["Status"] == "Done", row)

    def fetch_outputs(self) -> None:
        sandboxes = Sandboxes(self.url, self.dirac.credentials)
        for job_id, files in self.expected.items():
            with self.checks.part(f"output of job {job_id}"):
                seen = sandboxes.fetch_output(job_id, self.work / "outputs" / str(job_id))
                self.checks.equal(f"output of job {job_id}", {name: seen.get(name) for name in files}, files)

    def log_out(self) -> None:
        saved = json.loads(self.dirac.credentials.read_text())
        done = self.dirac.run("logout")
        self.checks.that("dirac logout says so", "Logout successful!" in done.stdout, done.stdout + done.stderr)
        self.checks.that("no revocation error is shown", "Error revoking" not in done.stdout, done.stdout)
        self.checks.that("the credentials are gone", not self.dirac.credentials.exists())
        whoami = self.dirac.run("whoami")
        self.checks.that(
            "whoami asks for a login", "You are not authenticated" in whoami.stdout, whoami.stdout + whoami.stderr
        )
        # Not tried at the token endpoint: a server may take that for theft and end all of the user's sessions.
        self.checks.that("the refresh token is revoked", not self.is_listed(saved), "still in /api/auth/refresh-tokens")

    def is_listed(self, saved: dict[str, str]) -> bool:
        """Whether the refresh token is among the user's unrevoked ones; the access token outlives the logout."""
        headers = {"Authorization": f"Bearer {saved['access_token']}"}
        request = urllib.request.Request(f"{self.url}/api/auth/refresh-tokens", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            listed = {uuid.UUID(token["JTI"]) for token in json.load(response)}
        return uuid.UUID(claims_of(saved["refresh_token"])["jti"]) in listed


def main() -> int:
    parser = argparse.ArgumentParser(description="Drives the unmodified `dirac` command against a server.")
    parser.add_argument("--url", required=True, help="the server, e.g. http://localhost:18000 (a path is not kept)")
    parser.add_argument("--vo", default="vo.spinor.test", help="virtual organisation (default: %(default)s)")
    parser.add_argument("--user", default="alice", help="user at the provider (default: %(default)s)")
    parser.add_argument(
        "--wait-done",
        type=int,
        default=300,
        metavar="SECONDS",
        help="how long all jobs together may take; 0: do not wait, nor fetch outputs (default: %(default)s)",
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="an empty or new folder for files (default: a temporary one)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diracx-cli-") as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        session = Session(arguments, work.resolve())
        steps = [session.log_in, session.who_am_i, session.dump_configuration, session.submit, session.search]
        if session.wait:
            steps += [session.wait_until_done, session.fetch_outputs]
        for step in [*steps, session.log_out]:
            with session.checks.part(step.__name__):
                step()
        return session.checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
