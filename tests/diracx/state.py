#!/usr/bin/env python3
"""Runs DIRAC 9.1's own job-state clients (its "future clients", which go to DiracX over REST) against a server.

    venv/bin/python state.py --url http://localhost:18000 \
        --user-credentials alice.json --pilot-credentials pilot.json --admin-credentials adam.json

The classes are imported as they are installed and called through their public methods. What they read is set up as in
an installation of DIRAC: a dirac.cfg with /DiracX/URL, and a proxy file, of which they use nothing but the token.
Effects are read back over REST with the user's token, not through the classes. A method that no check called is a
failure. All jobs ask for a site that does not exist, so that none of them runs. Make credentials with login.py.

--spare-credentials names a login that may be used up: its refresh token is exchanged.
--job-report also runs JobReport and the classes that choose between DIRAC's services and DiracX; they need M2Crypto.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
import sys
import tempfile
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from checks import Checks

NOWHERE = "NOWHERE.never.test"
UNKNOWN = 2_000_000_000
CONFIGURATION = """
DiracX
{{
  URL = {url}
  FutureClientEnabled
  {{
    WorkloadManagement
    {{
      JobStateUpdate = yes
    }}
  }}
}}
"""
BEAT = {
    "LoadAverage": 1.5,
    "MemoryUsed": 1000.25,
    "Vsize": 2000.5,
    "AvailableDiskSpace": 30000.0,
    "CPUConsumed": 12,
    "WallClockTime": 13.5,
}


class Kit:
    """The server, who may speak to it, and which methods were called."""

    def __init__(self, checks: Checks, url: str, work: Path, credentials: dict[str, Path]) -> None:
        self.checks, self.url, self.work = checks, url, work
        self.credentials = {role: json.loads(path.read_text()) for role, path in credentials.items()}
        self.called: set[str] = set()

    def install(self) -> None:
        """Prepares what an installation of DIRAC finds: to be called before DIRAC is imported."""
        (self.work / "etc").mkdir()
        (self.work / "etc" / "dirac.cfg").write_text(CONFIGURATION.format(url=self.url))
        (self.work / "tmp").mkdir()
        tempfile.tempdir = str(self.work / "tmp")  # where the client keeps tokens that it refreshes
        os.environ["DIRAC_ROOT_PATH"] = str(self.work)
        os.environ.pop("GRID_PROXY_FILE", None)

    def be(self, role: str | None, **changed: Any) -> None:
        """Makes somebody's proxy file the current one; it is nothing but a token, or empty."""
        path = self.work / f"{role}.pem"
        path.write_text("" if role is None else pem(self.credentials[role] | changed))
        os.environ["X509_USER_PROXY"] = str(path)

    def call(self, client: object, name: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        self.called.add(f"{type(client).__name__}.{name}")
        return getattr(client, name)(*arguments, **named)

    def works(self, client: object, name: str, *arguments: Any, **named: Any) -> Any:
        """Checks that a method works; its value, if it has one."""
        answer = self.call(client, name, *arguments, **named)
        self.checks.that(f"{name} works", answer["OK"] is True, answer)
        return answer.get("Value")

    def refused(self, what: str, reason: str, client: object, name: str, *arguments: Any, **named: Any) -> None:
        """Checks that a method fails, and that DIRAC's message has the server's reason."""
        answer = self.call(client, name, *arguments, **named)
        self.checks.that(f"{what}: refused", not answer["OK"] and reason in answer["Message"], answer)

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """Asks the server as the user, without DIRAC."""
        headers = {
            "Authorization": f"Bearer {self.credentials['user']['access_token']}",
            "Content-Type": "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def submit(self) -> int:
        jdl = f'JobName = "state"; JobType = "User"; Executable = "/bin/echo"; Site = "{NOWHERE}";'
        return self.rest("POST", "/api/jobs/jdl", [jdl])[0]["JobID"]

    def row(self, job: int, *columns: str) -> dict[str, Any]:
        search = [{"parameter": "JobID", "operator": "eq", "value": job}]
        body: dict[str, Any] = {"search": search}
        if columns:
            body["parameters"] = list(columns)
        return self.rest("POST", "/api/jobs/search", body)[0]

    def state(self, job: int) -> tuple[str, str, str]:
        row = self.row(job)
        return row["Status"], row["MinorStatus"], row["ApplicationStatus"]

    def log(self, job: int) -> list[dict[str, str]]:
        return self.row(job, "JobID", "LoggingInfo")["LoggingInfo"]

    def parameters(self, job: int) -> dict[str, Any]:
        return self.rest("GET", f"/api/jobs/{job}/parameters")


def pem(credentials: dict[str, Any]) -> str:
    data = base64.b64encode(json.dumps(credentials).encode()).decode()
    return f"-----BEGIN DIRACX-----\n{textwrap.fill(data, 64)}\n-----END DIRACX-----\n"


def now() -> datetime:
    """The time as DIRAC has it: in UTC, and not saying so."""
    return datetime.now(UTC).replace(tzinfo=None)


def told_at(entry: dict[str, str]) -> datetime:
    return datetime.fromisoformat(entry["StatusTime"]).replace(tzinfo=None)


def unmodified(kit: Kit, *modules: str) -> None:
    """The modules are those of the release: their checksums are the ones that it was published with."""
    distribution = importlib.metadata.distribution("DIRAC")
    kit.checks.that("this is DIRAC 9.1", distribution.version.startswith("9.1."), distribution.version)
    files = {str(file): file for file in distribution.files or []}
    for module in modules:
        file = files[module.replace(".", "/") + ".py"]
        digest = hashlib.sha256(file.read_binary()).digest()
        seen = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        kit.checks.equal(f"{module} is as published", seen, file.hash and file.hash.value)


def statuses(kit: Kit, update: Any, role: str) -> None:
    job, start = kit.submit(), now()
    kit.be(role)
    kit.works(update, "setJobStatus", job, "Matched", "Assigned", "Kit", datetime_=start)
    kit.checks.equal("setJobStatus: the job", kit.state(job)[:2], ("Matched", "Assigned"))
    entry = kit.log(job)[-1]
    kit.checks.equal("setJobStatus: the log", (entry["Status"], entry["Source"]), ("Matched", "Kit"))
    late = abs(told_at(entry) - start)
    kit.checks.that("setJobStatus: the moment told is the log's", late <= timedelta(milliseconds=1), entry)
    kit.works(update, "setJobStatus", job, minorStatus="only this")
    kit.checks.equal("setJobStatus: only a minor status", kit.state(job)[:2], ("Matched", "only this"))
    start = now()
    bulk = [
        {"Status": "Running", "MinorStatus": "Job Initialization", "Source": "JobWrapper"},
        {"MinorStatus": "Application", "Source": "JobWrapper"},
        {"ApplicationStatus": "step 1", "Source": "Application"},
    ]
    moments = {str(start + timedelta(microseconds=n)): told for n, told in enumerate(bulk)}
    kit.works(update, "setJobStatusBulk", job, moments)
    kit.checks.equal("setJobStatusBulk: the job", kit.state(job), ("Running", "Application", "step 1"))
    seen = [(entry["Status"], entry["MinorStatus"], entry["Source"]) for entry in kit.log(job)][-3:]
    expected = [
        ("Running", "Job Initialization", "JobWrapper"),
        ("Running", "Application", "JobWrapper"),
        ("Running", "Application", "Application"),
    ]
    kit.checks.equal("setJobStatusBulk: the log", seen, expected)
    kit.checks.that("setJobStatusBulk: the job has started", kit.row(job)["StartExecTime"], kit.row(job))
    old = {"2026-01-01 00:00:00": {"Status": "Completing", "Source": "late"}}
    kit.works(update, "setJobStatusBulk", job, old)
    kit.checks.equal("setJobStatusBulk: news that are old change nothing", kit.state(job)[0], "Running")
    kit.works(update, "setJobApplicationStatus", str(job), "step 2", "Kit")
    kit.checks.equal("setJobApplicationStatus: the job", kit.state(job), ("Running", "Application", "step 2"))
    kit.works(update, "setJobAttribute", job, "Status", "Completing")
    kit.checks.equal("setJobAttribute: the status", kit.state(job)[0], "Completing")
    # The client leaves unread what the server says of single jobs: as with DiracX, this looks as if it had worked.
    kit.works(update, "setJobStatus", job, "Matched")
    kit.checks.equal("setJobStatus: an illegal step changes nothing", kit.state(job)[0], "Completing")
    kit.refused("force", "403", update, "setJobStatus", job, "Received", force=True)
    kit.refused("an unknown state", "422", update, "setJobStatus", job, "Dreaming")
    for status, minor in (("Completed", "Pending Requests"), ("Done", "Requests done")):
        kit.works(update, "setJobStatus", job, status, minor, "JobWrapper")
    row = kit.row(job)
    kit.checks.that("setJobStatus: the job is Done and has ended", row["Status"] == "Done" and row["EndExecTime"], row)
    status, reason = ("403", "not yours") if role == "user" else ("404", "not found")
    kit.refused(f"an unknown job, {status}", reason, update, "setJobStatus", UNKNOWN, "Running")
    kit.refused("nothing at all", "Not Found", update, "setJobStatusBulk", job, {})


def metadata(kit: Kit, update: Any, role: str) -> None:
    job, other = kit.submit(), kit.submit()
    kit.be(role)
    kit.works(update, "setJobSite", job, "LCG.One.org")
    kit.checks.equal("setJobSite: the job", kit.row(job)["Site"], "LCG.One.org")
    kit.works(update, "setJobAttribute", job, "Site", "LCG.Two.org")
    kit.checks.equal("setJobAttribute: the site", kit.row(job)["Site"], "LCG.Two.org")
    kit.refused("another attribute", "400", update, "setJobAttribute", job, "JobGroup", "mine")
    kit.works(update, "setJobParameter", job, "HostName", "worker-1")
    kit.works(update, "setJobParameters", job, [("Memory(kB)", "123kB"), ("Pilot_Reference", "htcondorce://ce/1.0")])
    kit.works(update, "setJobsParameter", {job: ("Lumi", 7), other: ("Lumi", 8)})
    expected = {
        "HostName": "worker-1",
        "Memory(kB)": "123kB",
        "Pilot_Reference": "htcondorce://ce/1.0",
        "Lumi": 7,
    }
    kit.checks.equal("the parameters", kit.parameters(job), expected)
    kit.checks.equal("the other job's", kit.parameters(other), {"Lumi": 8})


def heartbeats(kit: Kit, update: Any, role: str) -> None:
    job = kit.submit()
    kit.be(role)
    kit.works(update, "setJobStatus", job, "Matched")
    told = kit.works(update, "sendHeartBeat", job, BEAT, {"StandardOutput": "last\nlines"})
    kit.checks.equal("sendHeartBeat: nothing to do", told, {})
    kit.checks.equal("sendHeartBeat: a Matched job is Running", kit.state(job)[0], "Running")
    kit.checks.that("sendHeartBeat: the job's heartbeat", kit.row(job)["HeartBeatTime"], kit.row(job))
    kit.checks.equal("sendHeartBeat: what it says", kit.parameters(job), BEAT | {"StandardOutput": "last\nlines"})
    kit.be("user")
    kit.works(update, "setJobStatus", job, "Killed", "Marked for termination")
    kit.be(role)
    told = [kit.works(update, "sendHeartBeat", job, BEAT, {}) for _ in range(2)]
    kit.checks.that("sendHeartBeat: Kill is said once", "Kill" in told[0] and told[1] == {}, told)
    kit.works(update, "setJobStatus", job, "Done")
    kit.checks.equal("a killed job stays so", kit.state(job)[:2], ("Killed", "Marked for termination"))


def monitoring(kit: Kit, monitor: Any, role: str) -> None:
    one, two = kit.submit(), kit.submit()
    kit.be(role)
    for name, columns in (
        ("getJobsStates", ("Status", "MinorStatus", "ApplicationStatus")),
        ("getJobsMinorStatus", ("MinorStatus",)),
        ("getJobsSites", ("Site",)),
    ):
        expected = {job: {column: kit.row(job)[column] for column in columns} for job in (one, two)}
        kit.checks.equal(f"{name}: both jobs", kit.works(monitor, name, [one, two, UNKNOWN]), expected)


def staging(kit: Kit, update: Any, role: str) -> None:
    job = kit.submit()
    kit.be("admin")
    kit.works(update, "setJobStatus", job, "Staging", "Request sent", force=True)
    kit.checks.equal("force: the job", kit.state(job)[0], "Staging")
    kit.be(role)
    kit.works(update, "updateJobFromStager", job, "Failed")
    kit.checks.equal("updateJobFromStager: a failure", kit.state(job)[1], "Staging input files failed")
    kit.works(update, "updateJobFromStager", UNKNOWN, "Done")


def replayed(kit: Kit, update: Any, role: str) -> None:
    """What could not be said is kept, and said later, by DIRAC's request agents."""
    from DIRAC.Core.Security.DiracX import executeRPCStub
    from DIRAC.Core.Utilities import DEncode

    job = kit.submit()
    kit.be(None)
    moments = {str(now()): {"MinorStatus": "said later", "Source": "Kit"}}
    answer = kit.call(update, "setJobStatusBulk", job, moments)
    kit.checks.that("without a token: refused, and kept", not answer["OK"] and "rpcStub" in answer, answer)
    stub, _ = DEncode.decode(DEncode.encode(answer["rpcStub"]))
    kit.be(role)
    kit.checks.that("said later: works", executeRPCStub(stub)["OK"])
    kit.checks.equal("said later: the job", kit.state(job)[1], "said later")


def who(kit: Kit, role: str) -> None:
    from DIRAC.Core.Security.DiracX import DiracXClient

    kit.be(role)
    with DiracXClient() as api:
        info = api.auth.userinfo()
    group, properties = {"user": ("user", "NormalUser"), "pilot": ("pilot", "GenericPilot")}[role]
    kit.checks.that(f"userinfo: {role}", info.dirac_group == group and properties in info.properties, info.as_dict())


def refreshed(kit: Kit, monitor: Any) -> None:
    job = kit.submit()
    before = set((kit.work / "tmp").glob("dx_*"))
    kit.be("spare", expires_on=0)
    kit.works(monitor, "getJobsSites", [job])
    kept = set((kit.work / "tmp").glob("dx_*")) - before
    if not kit.checks.equal("an old token: kept files", len(kept), 1):
        return
    tokens = json.loads(kept.pop().read_text())
    kit.checks.that(
        "an old token is refreshed", tokens["refresh_token"] != kit.credentials["spare"]["refresh_token"], "the same"
    )
    kit.works(monitor, "getJobsSites", [job])


def job_report(kit: Kit, role: str) -> None:
    """What JobWrapper and Watchdog use: these classes go to DiracX where /DiracX/FutureClientEnabled says so."""
    from DIRAC.WorkloadManagementSystem.Client.JobReport import JobReport
    from DIRAC.WorkloadManagementSystem.Client.JobStateUpdateClient import JobStateUpdateClient

    job = kit.submit()
    kit.be(role)
    client = JobStateUpdateClient()
    kit.checks.that("chosen by configuration: setJobStatus", client.setJobStatus(job, "Matched", "Assigned")["OK"])
    kit.checks.equal("chosen by configuration: heartbeat", client.sendHeartBeat(job, BEAT, {}).get("Value"), {})
    report = JobReport(job, "JobWrapper")
    report.setJobStatus("Running", "Application", sendFlag=False)
    report.setApplicationStatus("step 1", sendFlag=False)
    report.setJobParameters([("HostName", "worker-1")], sendFlag=False)
    answer = report.commit()
    kit.checks.that("JobReport: commit", answer["OK"], answer)
    kit.checks.equal("JobReport: the job", kit.state(job), ("Running", "Application", "step 1"))
    kit.checks.equal("JobReport: a parameter", kit.parameters(job).get("HostName"), "worker-1")


def methods(*classes: type) -> set[str]:
    """Public methods; `fetch` is what others of its class share."""
    return {
        f"{kind.__name__}.{name}"
        for kind in classes
        for name, _ in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name != "fetch"
    }


def run(kit: Kit, with_report: bool) -> None:
    from DIRAC.WorkloadManagementSystem.FutureClient.JobMonitoringClient import JobMonitoringClient
    from DIRAC.WorkloadManagementSystem.FutureClient.JobStateUpdateClient import JobStateUpdateClient

    update, monitor = JobStateUpdateClient(), JobMonitoringClient()
    sources = (type(update).__module__, type(monitor).__module__, "DIRAC.Core.Security.DiracX")
    parts: list[tuple[str, Callable[[], None]]] = [("unmodified", lambda: unmodified(kit, *sources))]
    for role in ("user", "pilot"):
        parts += [
            (f"{role}: {part.__name__}", lambda part=part, role=role: part(kit, update, role))
            for part in (statuses, metadata, heartbeats, staging, replayed)
        ]
        parts.append((f"{role}: monitoring", lambda role=role: monitoring(kit, monitor, role)))
        parts.append((f"{role}: who", lambda role=role: who(kit, role)))
        if with_report:
            parts.append((f"{role}: job_report", lambda role=role: job_report(kit, role)))
    if "spare" in kit.credentials:
        parts.append(("refreshed", lambda: refreshed(kit, monitor)))
    for name, part in parts:
        print(f"# {name}", flush=True)
        with kit.checks.part(name):
            part()
    missed = methods(JobStateUpdateClient, JobMonitoringClient) - kit.called
    kit.checks.equal("every method was called", missed, set())


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs DIRAC 9.1's job-state clients against a server.")
    parser.add_argument("--url", required=True, help="the server, e.g. http://localhost:18000")
    for role in ("user", "pilot", "admin"):
        parser.add_argument(f"--{role}-credentials", required=True, type=Path, help=f"file of somebody as {role}")
    parser.add_argument("--spare-credentials", type=Path, help="file of a login that may be used up")
    parser.add_argument("--job-report", action="store_true", help="run JobReport, too (needs M2Crypto)")
    arguments = parser.parse_args()
    roles = {role: getattr(arguments, f"{role}_credentials") for role in ("user", "pilot", "admin", "spare")}
    credentials = {role: path for role, path in roles.items() if path}
    for role, path in credentials.items():
        # The client refreshes a token in its last five minutes, and the file that was given would be out of date.
        if role != "spare" and json.loads(path.read_text())["expires_on"] < datetime.now(UTC).timestamp() + 420:
            parser.error(f"{path} is about to expire; log in again")
    checks, work = Checks(), Path(tempfile.mkdtemp(prefix="dirac-state-"))
    try:
        kit = Kit(checks, arguments.url.rstrip("/"), work, credentials)
        kit.install()
        run(kit, arguments.job_report)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
