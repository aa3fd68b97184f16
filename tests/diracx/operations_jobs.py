"""Checks of the client's job operations.

All jobs here ask for a site that does not exist, so that none of them runs and their states are the checks' own.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

from diracx.client.models import BodyJobsRescheduleJobs, HeartbeatData, JobStatusUpdate

if TYPE_CHECKING:
    from operations import Kit

NOWHERE = "NOWHERE.never.test"
INITIAL = {"Submitting", "Received", "Checking", "Waiting"}  # DiracX by itself leaves jobs in the first two
COLUMNS = set(
    "JobID JobType JobGroup Site JobName Owner OwnerGroup VO SubmissionTime RescheduleTime LastUpdateTime StartExecTime"
    " HeartBeatTime EndExecTime Status MinorStatus ApplicationStatus UserPriority RescheduleCounter VerifiedFlag"
    " AccountedFlag".split()
)
Rows = list[dict[str, Any]]


def jdl(name: str, group: str, more: str = "") -> str:
    return (
        f'JobName = "{name}"; JobGroup = "{group}"; Executable = "/bin/echo"; Arguments = "hello"; '
        f'Site = "{NOWHERE}"; Priority = 3; {more}'
    )


async def submitted(kit: "Kit", *names: str) -> tuple[str, list[int]]:
    """Submits jobs in a group of their own; returns the group and the job ids."""
    group = secrets.token_hex(8)
    client = await kit.client("user")
    jobs = await client.jobs.submit_jdl_jobs([jdl(name, group) for name in names])
    return group, [job.job_id for job in jobs]


def condition(parameter: str, operator: str, value: Any) -> dict[str, Any]:
    key = "values" if operator in ("in", "not in") else "value"
    return {"parameter": parameter, "operator": operator, key: value}


async def rows_of(kit: "Kit", ids: list[int], *parameters: str) -> dict[int, dict[str, Any]]:
    client = await kit.client("user")
    rows = await client.jobs.search(
        search=[condition("JobID", "in", ids)], parameters=["JobID", *parameters] if parameters else None
    )
    return {row["JobID"]: row for row in rows}


async def row_of(kit: "Kit", job_id: int, *parameters: str) -> dict[str, Any]:
    return (await rows_of(kit, [job_id], *parameters))[job_id]


def now(seconds: float = 0) -> str:
    """The time for a status update; a little later for one that must follow another in the same call."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def force(kit: "Kit", job_id: int, *statuses: str) -> None:
    """Puts a job through states, past the state machine, as only an administrator may."""
    client = await kit.client("admin")
    for status in statuses:
        update = JobStatusUpdate(status=status, minor_status="forced", source="kit")
        await client.jobs.set_job_statuses({str(job_id): {now(): update}}, force=True)


async def submission(kit: "Kit") -> None:
    group = secrets.token_hex(8)
    client = await kit.client("user")
    # One call's jobs all name their type: DiracX loses or refuses attributes that only some of them have.
    inserted = await client.jobs.submit_jdl_jobs(
        [jdl("alpha", group, 'JobType = "User";'), jdl("beta", group, 'JobType = "Test";')]
    )
    ids = [job.job_id for job in inserted]
    kit.checks.that("submission: two ids", len(set(ids)) == 2 and all(isinstance(i, int) for i in ids), ids)
    for job in inserted:
        kit.checks.that("submission: initial status", job.status in INITIAL and bool(job.minor_status), job.as_dict())
        age = datetime.now(UTC) - job.time_stamp
        kit.checks.that("submission: timestamp is now", abs(age) < timedelta(minutes=5), job.time_stamp)
    row = await row_of(kit, ids[0])
    kit.checks.equal("search gives all columns unasked", set(row), COLUMNS)
    identity = await client.auth.userinfo()
    expected = {
        "JobName": "alpha",
        "JobGroup": group,
        "Site": NOWHERE,
        "UserPriority": 3,
        "Owner": identity.preferred_username,
        "OwnerGroup": identity.dirac_group,
        "VO": kit.vo,
        "RescheduleCounter": 0,
        "StartExecTime": None,
        "EndExecTime": None,
    }
    kit.checks.equal("the job is as described", {name: row[name] for name in expected}, expected)
    types = {job_id: row["JobType"] for job_id, row in (await rows_of(kit, ids, "JobType")).items()}
    kit.checks.equal("job types", types, dict(zip(ids, ("User", "Test"), strict=True)))
    parametric = jdl("gamma-%n", group, "Parameters = 3;")
    parts = [job.job_id for job in await client.jobs.submit_jdl_jobs([parametric])]
    names = {row["JobName"] for row in (await rows_of(kit, parts, "JobName")).values()}
    kit.checks.equal("parametric jobs", names, {"gamma-0", "gamma-1", "gamma-2"})
    for what, text in (("a JDL that does not end", '[ Executable = "/bin/echo'), ("no JDL at all", "%%%")):
        await kit.refused(f"submission of {what}", client.jobs.submit_jdl_jobs([text]), 400)
    both = client.jobs.submit_jdl_jobs([parametric, jdl("delta", group)])
    await kit.refused("submission of parametric jobs with others", both, 400)
    for role in ("admin", "anonymous"):
        call = (await kit.client(role)).jobs.submit_jdl_jobs([jdl("x", group)])
        await kit.refused(f"submission by {role}, who is no NormalUser", call, 401 if role == "anonymous" else 403)


async def search_operators(kit: "Kit") -> None:
    names = ["alpha", "beta", "gamma"]
    group, (alpha, beta, gamma) = await submitted(kit, *names)
    client = await kit.client("user")
    by_id = dict(zip((alpha, beta, gamma), names, strict=True))

    async def found(*conditions: dict[str, Any]) -> list[str]:
        search = [condition("JobGroup", "eq", group), *conditions]
        return sorted(by_id[row["JobID"]] for row in await client.jobs.search(parameters=["JobID"], search=search))

    cases = [
        (("JobName", "eq", "alpha"), ["alpha"]),
        (("JobName", "neq", "alpha"), ["beta", "gamma"]),
        (("JobName", "like", "%a%m%"), ["gamma"]),
        (("JobName", "not like", "b%"), ["alpha", "gamma"]),
        (("JobName", "regex", "^(alpha|beta)$"), ["alpha", "beta"]),
        (("JobName", "in", ["alpha", "gamma", "nobody"]), ["alpha", "gamma"]),
        (("JobName", "not in", ["alpha", "gamma"]), ["beta"]),
        (("JobName", "gt", "alpha"), ["beta", "gamma"]),
        (("JobID", "eq", beta), ["beta"]),
        (("JobID", "eq", str(beta)), ["beta"]),  # `dirac jobs search` sends every value as a string
        (("JobID", "neq", beta), ["alpha", "gamma"]),
        (("JobID", "gt", alpha), ["beta", "gamma"]),
        (("JobID", "lt", str(gamma)), ["alpha", "beta"]),
        (("JobID", "in", [alpha, gamma]), ["alpha", "gamma"]),
        (("JobID", "in", [str(alpha), str(gamma)]), ["alpha", "gamma"]),
        (("JobID", "not in", [alpha]), ["beta", "gamma"]),
        (("RescheduleCounter", "lt", 1), names),
        (("Status", "in", sorted(INITIAL)), names),
        (("Site", "eq", "ANY"), []),
        (("PilotStamp", "eq", "no-such-stamp"), []),
        (("PilotStamp", "in", ["no-such-stamp"]), []),
    ]
    for case, expected in cases:
        kit.checks.equal(f"search: {' '.join(map(str, case))}", await found(condition(*case)), expected)
    both = await found(condition("JobName", "neq", "alpha"), condition("JobID", "lt", gamma))
    kit.checks.equal("search: two conditions both hold", both, ["beta"])
    await search_by_time(kit, found, (await row_of(kit, alpha, "SubmissionTime"))["SubmissionTime"])
    refusals = [
        condition("NoSuchColumn", "eq", "x"),
        condition("JobName", "regex", "("),
        condition("SubmissionTime", "eq", "yesterday"),
        condition("SubmissionTime", "in", ["2026", "2026-11"]),
    ]
    for bad in refusals:
        await kit.refused(f"search: {' '.join(map(str, bad.values()))}", found(bad), 400)
    pilot_and_job = found(condition("PilotStamp", "eq", "x"), condition("JobID", "eq", alpha))
    await kit.refused("search: PilotStamp together with JobID", pilot_and_job, 400)
    await kit.refused("search: unknown operator", found(condition("JobName", "almost", "alpha")), 422)
    await kit.refused("search: unknown parameter", client.jobs.search(parameters=["NoSuchColumn"]), 400)
    sort: Any = [{"parameter": "NoSuchColumn", "direction": "asc"}]
    await kit.refused("search: sort by an unknown column", client.jobs.search(sort=sort), 400)
    await kit.refused("search without a token", (await kit.client("anonymous")).jobs.search(), 401)


async def search_by_time(kit: "Kit", found: Callable[..., Awaitable[list[str]]], submitted_at: str) -> None:
    """A part of a date means the whole period."""
    kit.checks.that(
        "search: times are ISO with a zone", datetime.fromisoformat(submitted_at).tzinfo is not None, submitted_at
    )
    moment = datetime.fromisoformat(submitted_at).astimezone(UTC)
    everyone = ["alpha", "beta", "gamma"]
    year, before, after = (f"{moment.year + shift}" for shift in (0, -1, 1))
    day = f"{moment:%Y-%m-%d}"
    cases = [
        *((("eq", value), everyone) for value in (year, f"{moment:%Y-%m}", day)),
        *((("eq", f"{moment:{form}}"), everyone) for form in ("%Y-%m-%d %H", "%Y-%m-%dT%H")),
        (("eq", before), []),
        (("neq", before), everyone),
        (("gt", before), everyone),
        (("gt", year), []),
        (("gt", day), []),
        (("gt", f"{moment - timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.%fZ}"), everyone),
        (("lt", after), everyone),
        (("lt", year), []),
        (("lt", day), []),
        (("lt", f"{moment + timedelta(minutes=5):%Y-%m-%d %H:%M:%S}"), everyone),
        (("in", [before, year]), everyone),
        (("not in", [year]), []),
        (("not in", [before, after]), everyone),
    ]
    for (operator, value), expected in cases:
        seen = await found(condition("SubmissionTime", operator, value))
        kit.checks.equal(f"search: SubmissionTime {operator} {value}", seen, expected)


async def search_answers(kit: "Kit") -> None:
    """Sorting, pages, distinct rows and the log."""
    names = ["beta", "alpha", "gamma"]
    group, ids = await submitted(kit, *names)
    client = await kit.client("user")
    mine = [condition("JobGroup", "eq", group)]

    async def page(number: int, size: int, **more: Any) -> tuple[int, str | None, Rows]:
        rows, response = await client.jobs.search(
            search=mine,
            page=number,
            per_page=size,
            cls=lambda answer, value, headers: (value, answer.http_response),
            **more,
        )
        return response.status_code, response.headers.get("Content-Range"), rows

    for direction, expected in (("asc", sorted(names)), ("desc", sorted(names, reverse=True))):
        _, _, rows = await page(1, 100, sort=[{"parameter": "JobName", "direction": direction}])
        kit.checks.equal(f"search: sorted {direction}", [row["JobName"] for row in rows], expected)
    two_keys = [{"parameter": "Owner", "direction": "asc"}, {"parameter": "JobID", "direction": "desc"}]
    _, _, rows = await page(1, 100, sort=two_keys)
    kit.checks.equal("search: sorted by two columns", [row["JobID"] for row in rows], sorted(ids, reverse=True))
    by_id = [{"parameter": "JobID", "direction": "asc"}]
    status, content_range, rows = await page(1, 2, sort=by_id)
    kit.checks.equal(
        "search: first page", (status, content_range, [row["JobID"] for row in rows]), (206, "jobs 0-1/3", ids[:2])
    )
    status, content_range, rows = await page(2, 2, sort=by_id)
    kit.checks.equal(
        "search: last page", (status, content_range, [row["JobID"] for row in rows]), (206, "jobs 2-2/3", ids[2:])
    )
    status, content_range, rows = await page(1, 3)
    kit.checks.that(
        "search: all in one page", status == 200 and content_range in (None, "jobs 0-2/3"), (status, content_range)
    )
    error = await kit.refused("search: past the last page", page(3, 2), 416)
    if error and error.response:
        kit.checks.equal("search: past the last page, range", error.response.headers.get("Content-Range"), "jobs */3")
    for number, size in ((0, 10), (1, 0), (1, 10_001)):
        await kit.refused(f"search: page {number} of {size}", page(number, size), 422)
    # The client has no argument for distinct: only a body of one's own carries it.
    body = {"parameters": ["JobGroup"], "search": mine, "distinct": True}
    distinct = await client.jobs.search(body=BytesIO(json.dumps(body).encode()))
    kit.checks.equal("search: distinct rows", distinct, [{"JobGroup": group}])
    logged = await client.jobs.search(parameters=["JobID", "LoggingInfo"], search=mine)
    for row in logged:
        entries = row["LoggingInfo"]
        keys = {"Status", "MinorStatus", "ApplicationStatus", "StatusTime", "Source"}
        kit.checks.that("search: LoggingInfo", bool(entries) and all(set(entry) == keys for entry in entries), row)


async def summary(kit: "Kit") -> None:
    group, ids = await submitted(kit, "alpha", "alpha", "beta")
    client = await kit.client("user")
    mine = [condition("JobGroup", "eq", group)]
    counts = await client.jobs.summary(grouping=["JobName"], search=mine)
    expected = [{"JobName": "alpha", "count": 2}, {"JobName": "beta", "count": 1}]
    kit.checks.equal("summary by name", sorted(counts, key=lambda row: row["JobName"]), expected)
    counts = await client.jobs.summary(grouping=["Owner", "VO"], search=mine)
    kit.checks.equal("summary by two columns", [(row["VO"], row["count"]) for row in counts], [(kit.vo, 3)])
    counts = await client.jobs.summary(grouping=["Site"], search=[condition("JobID", "in", ids[:2])])
    kit.checks.equal("summary of chosen jobs", counts, [{"Site": NOWHERE, "count": 2}])
    await kit.refused("summary by an unknown column", client.jobs.summary(grouping=["NoSuchColumn"]), 400)


async def statuses(kit: "Kit") -> None:
    _, (one, two) = await submitted(kit, "one", "two")
    user, admin = await kit.client("user"), await kit.client("admin")
    forbidden = user.jobs.set_job_statuses({str(one): {now(): JobStatusUpdate(status="Done")}}, force=True)
    await kit.refused("statuses: force by a user", forbidden, 403)
    await force(kit, one, "Matched")
    await force(kit, two, "Matched")
    updates = {
        str(job_id): {
            now(0.01): JobStatusUpdate(status="Running", minor_status="Application", source="JobWrapper"),
            now(0.02): JobStatusUpdate(application_status="step 1 of 2", source="Application"),
        }
        for job_id in (one, two)
    }
    answer = await user.jobs.set_job_statuses(updates)
    kit.checks.equal("statuses: both jobs updated", (set(answer.success), answer.failed), ({str(one), str(two)}, {}))
    kit.checks.equal("statuses: the answer says what was set", answer.success[str(one)].status, "Running")
    for job_id, row in (await rows_of(kit, [one, two])).items():
        seen = row["Status"], row["MinorStatus"], row["ApplicationStatus"]
        kit.checks.equal(f"statuses: job {job_id}", seen, ("Running", "Application", "step 1 of 2"))
        kit.checks.that(f"statuses: job {job_id} has started", row["StartExecTime"] and not row["EndExecTime"], row)
    log = (await row_of(kit, one, "LoggingInfo"))["LoggingInfo"]
    last = [(entry["Status"], entry["ApplicationStatus"], entry["Source"]) for entry in log][-1]
    kit.checks.equal("statuses: the log ends so", last, ("Running", "step 1 of 2", "Application"))
    times = [datetime.fromisoformat(entry["StatusTime"]) for entry in log]
    kit.checks.equal("statuses: the log is in order", times, sorted(times))
    await user.jobs.set_job_statuses({str(one): {now(0.03): JobStatusUpdate(status="Waiting", source="kit")}})
    kit.checks.equal(
        "statuses: an illegal step changes nothing", (await row_of(kit, one, "Status"))["Status"], "Running"
    )
    await user.jobs.set_job_statuses(
        {str(one): {now(0.04): JobStatusUpdate(status="Done", minor_status="Execution Complete")}}
    )
    done = await row_of(kit, one)
    kit.checks.that("statuses: a final status sets the end", done["Status"] == "Done" and done["EndExecTime"], done)
    await status_refusals(kit, two)
    missing = 2_000_000_000
    mixed = {
        str(two): {now(0.05): JobStatusUpdate(application_status="mixed")},
        str(missing): {now(0.05): JobStatusUpdate(status="Done")},
    }
    answer = await admin.jobs.set_job_statuses(mixed)
    kit.checks.equal(
        "statuses: known and unknown", (set(answer.success), set(answer.failed)), ({str(two)}, {str(missing)})
    )


async def status_refusals(kit: "Kit", job_id: int) -> None:
    user, admin, login = [await kit.client(role) for role in ("user", "admin", "login")]
    update = JobStatusUpdate(status="Failed", source="kit")
    naive = user.jobs.set_job_statuses({str(job_id): {"2026-01-01T00:00:00": update}})
    await kit.refused("statuses: a time without a zone", naive, 400)
    other = login.jobs.set_job_statuses({str(job_id): {now(): update}})
    await kit.refused("statuses: another user's job", other, 403)
    unknown = admin.jobs.set_job_statuses({"2000000000": {now(): update}})
    await kit.refused("statuses: an unknown job", unknown, 404)
    nonsense = user.jobs.set_job_statuses({str(job_id): {now(): JobStatusUpdate(status="Dreaming")}})
    await kit.refused("statuses: an unknown status", nonsense, 422)
    kit.checks.equal("statuses: refusals change nothing", (await row_of(kit, job_id, "Status"))["Status"], "Running")


async def heartbeats(kit: "Kit") -> None:
    _, (killed, matched, stalled) = await submitted(kit, "killed", "matched", "stalled")
    user, admin, login = [await kit.client(role) for role in ("user", "admin", "login")]
    await force(kit, killed, "Matched", "Running")
    await force(kit, matched, "Matched")
    await force(kit, stalled, "Matched", "Running", "Stalled")
    data = HeartbeatData(
        load_average=1.5,
        memory_used=2048.0,
        vsize=4096.0,
        available_disk_space=1e6,
        cpu_consumed=12.5,
        wall_clock_time=60.0,
        standard_output="so far so good",
    )
    commands = await user.jobs.add_heartbeat({str(job_id): data for job_id in (killed, matched, stalled)})
    kit.checks.equal("heartbeat: no command yet", commands, [])
    rows = await rows_of(kit, [killed, matched, stalled], "Status", "HeartBeatTime", "LoggingInfo")
    for job_id, name in ((killed, "running"), (matched, "matched"), (stalled, "stalled")):
        kit.checks.equal(f"heartbeat: a {name} job is Running", rows[job_id]["Status"], "Running")
        kit.checks.that(f"heartbeat: a {name} job's heartbeat time", bool(rows[job_id]["HeartBeatTime"]), rows[job_id])
    sources = [entry["Source"] for entry in rows[matched]["LoggingInfo"]]
    kit.checks.equal("heartbeat: the log's source", sources[-1], "Heartbeat")
    for job_id, status, minor in (
        (killed, "Killed", "Marked for termination"),
        (matched, "Deleted", "Marked for deletion"),
    ):
        update = JobStatusUpdate(status=status, minor_status=minor, source="User: kit")
        if status == "Deleted":
            await force(kit, job_id, "Done")
        await user.jobs.set_job_statuses({str(job_id): {now(0.01): update}})
        row = await row_of(kit, job_id, "Status", "MinorStatus")
        kit.checks.equal(f"kill: job becomes {status}", (row["Status"], row["MinorStatus"]), (status, minor))
    beat = HeartbeatData(load_average=0.5)
    await asyncio.sleep(1.1)  # DiracX fails on two heartbeats of one job within a second
    commands = await user.jobs.add_heartbeat({str(killed): beat, str(stalled): beat})
    kit.checks.equal("kill: the command is delivered", [(c.job_id, c.command) for c in commands], [(killed, "Kill")])
    await asyncio.sleep(1.1)
    commands = await user.jobs.add_heartbeat({str(killed): beat, str(stalled): beat})
    kit.checks.equal("kill: the command is delivered once", [(c.job_id, c.command) for c in commands], [])
    kit.checks.equal("kill: a heartbeat does not revive", (await row_of(kit, killed, "Status"))["Status"], "Killed")
    await asyncio.sleep(1.1)
    await kit.refused("heartbeat of another user's job", login.jobs.add_heartbeat({str(stalled): beat}), 403)
    await kit.refused("heartbeat of an unknown job", admin.jobs.add_heartbeat({"2000000000": beat}), 404)
    extra = BytesIO(json.dumps({str(stalled): {"Mood": "good"}}).encode())
    await kit.refused("heartbeat with an unknown field", user.jobs.add_heartbeat(extra), 422)
    if "pilot" in kit.credentials:
        pilot = await kit.client("pilot")
        kit.checks.equal("heartbeat by a pilot", await pilot.jobs.add_heartbeat({str(stalled): beat}), [])


async def rescheduling(kit: "Kit") -> None:
    _, (job_id, other) = await submitted(kit, "again", "other")
    user, login = await kit.client("user"), await kit.client("login")
    body = BodyJobsRescheduleJobs(job_ids=[job_id])
    for turn in (1, 2, 3):
        await force(kit, job_id, "Matched", "Running")
        answer = await user.jobs.reschedule_jobs(body)
        kit.checks.equal(
            f"reschedule {turn}: success", (list(answer["success"]), answer["failed"]), ([str(job_id)], {})
        )
        kit.checks.equal(
            f"reschedule {turn}: counter in the answer", answer["success"][str(job_id)]["RescheduleCounter"], turn
        )
        row = await row_of(kit, job_id)
        kit.checks.that(
            f"reschedule {turn}: starts over",
            row["Status"] in INITIAL and row["RescheduleCounter"] == turn and row["RescheduleTime"],
            row,
        )
    await force(kit, job_id, "Matched", "Running")
    await kit.refused("reschedule: too often", user.jobs.reschedule_jobs(body), 400)
    # Together with a job that can be rescheduled: alone, DiracX refuses but forgets to fail the job.
    answer = await user.jobs.reschedule_jobs(BodyJobsRescheduleJobs(job_ids=[job_id, other]))
    kit.checks.equal(
        "reschedule: one of two", (list(answer["success"]), list(answer["failed"])), ([str(other)], [str(job_id)])
    )
    row = await row_of(kit, job_id, "Status", "MinorStatus")
    kit.checks.that(
        "reschedule: too often fails the job", row["Status"] == "Failed" and "Maximum" in row["MinorStatus"], row
    )
    await force(kit, job_id, "Running")
    answer = await user.jobs.reschedule_jobs(body, reset_jobs=True)
    counter = (await row_of(kit, job_id, "RescheduleCounter"))["RescheduleCounter"]
    kit.checks.that(
        "reschedule: reset counts anew", str(job_id) in answer["success"] and counter in (0, 1), (answer, counter)
    )
    foreign = login.jobs.reschedule_jobs(BodyJobsRescheduleJobs(job_ids=[other]))
    await kit.refused("reschedule: another user's job", foreign, 403)


async def metadata(kit: "Kit") -> None:
    _, (one, two) = await submitted(kit, "one", "two")
    user, admin, login = [await kit.client(role) for role in ("user", "admin", "login")]
    moved = "ELSEWHERE.never.test"
    body: Any = {
        one: {"Site": moved, "HostName": "wn1.never.test", "PayloadPID": 42, "Colour": "blue"},
        two: {"site": moved},
    }
    status = await user.jobs.patch_metadata(body)
    kit.checks.equal("metadata: no answer but success", status, None)
    sites = {job_id: row["Site"] for job_id, row in (await rows_of(kit, [one, two], "Site")).items()}
    kit.checks.equal("metadata: the sites are changed", sites, {one: moved, two: moved})
    owner: Any = {one: {"Owner": "somebody"}}
    await kit.refused("metadata: the owner cannot be changed", user.jobs.patch_metadata(owner), 400)
    await kit.refused("metadata: another user's job", login.jobs.patch_metadata({one: {"Site": "ANY"}}), 403)
    unknown: Any = {2_000_000_000: {"Colour": "blue"}}
    await kit.refused("metadata: an unknown job", admin.jobs.patch_metadata(unknown), 404)
    kit.checks.equal("metadata: refusals change nothing", (await row_of(kit, one, "Site"))["Site"], moved)


PARTS = [submission, search_operators, search_answers, summary, statuses, heartbeats, rescheduling, metadata]
