"""Checks of the client's pilot operations."""

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from diracx.client.models import PilotMetadata

from operations_jobs import condition

if TYPE_CHECKING:
    from operations import Kit

COLUMNS = set(
    "PilotID InitialJobID CurrentJobID PilotJobReference PilotStamp DestinationSite Queue GridSite VO GridType"
    " BenchMark SubmissionTime LastUpdateTime Status StatusReason AccountingSent".split()
)


async def registered(kit: "Kit", count: int) -> list[str]:
    admin = await kit.client("admin")
    stamps = sorted(secrets.token_hex(16) for _ in range(count))
    for stamp in stamps:
        await admin.pilots.register_pilot(pilot_stamp=stamp, vo=kit.vo, pilot_reference=f"ref-{stamp}", grid_type="kit")
    return stamps


async def pilots_of(kit: "Kit", stamps: list[str]) -> dict[str, dict[str, Any]]:
    user = await kit.client("user")
    rows = await user.pilots.search(search=[condition("PilotStamp", "in", stamps)])
    return {row["PilotStamp"]: row for row in rows}


async def pilot_registration(kit: "Kit") -> None:
    admin, user = await kit.client("admin"), await kit.client("user")
    stamp = secrets.token_hex(16)
    answer = await admin.pilots.register_pilot(pilot_stamp=stamp, vo=kit.vo)
    kit.checks.equal("pilot: registered", answer, None)
    row = (await pilots_of(kit, [stamp]))[stamp]
    kit.checks.equal("pilot: columns", set(row), COLUMNS)
    defaults = {
        "GridType": "DIRAC",
        "GridSite": "Unknown",
        "DestinationSite": "NotAssigned",
        "Status": "Submitted",
        "VO": kit.vo,
    }
    kit.checks.equal("pilot: defaults", {name: row[name] for name in defaults}, defaults)
    age = datetime.now(UTC) - datetime.fromisoformat(row["SubmissionTime"])
    kit.checks.that("pilot: submitted just now", abs(age.total_seconds()) < 300, row["SubmissionTime"])
    await kit.refused("pilot: a stamp twice", admin.pilots.register_pilot(pilot_stamp=stamp, vo=kit.vo), 409)
    unknown = admin.pilots.register_pilot(pilot_stamp=secrets.token_hex(16), vo="no.such.vo")
    await kit.refused("pilot: of an unknown VO", unknown, 400)
    long = admin.pilots.register_pilot(pilot_stamp="x" * 33, vo=kit.vo)
    await kit.refused("pilot: a stamp too long", long, 422)
    by_user = user.pilots.register_pilot(pilot_stamp=secrets.token_hex(16), vo=kit.vo)
    await kit.refused("pilot: registered by a user", by_user, 403)
    anonymous = await kit.client("anonymous")
    await kit.refused("pilots without a token", anonymous.pilots.search(), 401)


async def pilot_metadata(kit: "Kit") -> None:
    admin, user = await kit.client("admin"), await kit.client("user")
    one, two = await registered(kit, 2)
    update = PilotMetadata(
        status="Running",
        status_reason="because",
        bench_mark=12.5,
        destination_site="ce.never.test",
        queue="long",
        grid_site="SITE.never.test",
        grid_type="kit",
        accounting_sent=True,
        current_job_id=7,
    )
    answer = await admin.pilots.update_pilot_metadata({one: update, two: PilotMetadata(status="Failed")})
    kit.checks.equal("pilot metadata: updated", answer, None)
    rows = await pilots_of(kit, [one, two])
    expected = {
        "Status": "Running",
        "StatusReason": "because",
        "BenchMark": 12.5,
        "DestinationSite": "ce.never.test",
        "Queue": "long",
        "GridSite": "SITE.never.test",
        "GridType": "kit",
        "AccountingSent": True,
        "CurrentJobID": 7,
    }
    kit.checks.equal("pilot metadata: all fields", {name: rows[one][name] for name in expected}, expected)
    kit.checks.equal("pilot metadata: the other pilot", (rows[two]["Status"], rows[two]["GridType"]), ("Failed", "kit"))
    unknown = admin.pilots.update_pilot_metadata({"no-such-stamp": PilotMetadata(status="Done")})
    await kit.refused("pilot metadata: an unknown stamp", unknown, 404)
    odd = admin.pilots.update_pilot_metadata({one: PilotMetadata(status="Dreaming")})
    await kit.refused("pilot metadata: an unknown status", odd, 422)
    by_user = user.pilots.update_pilot_metadata({one: PilotMetadata(status="Done")})
    await kit.refused("pilot metadata: changed by a user", by_user, 403)
    kit.checks.equal("pilot metadata: refusals change nothing", (await pilots_of(kit, [one]))[one]["Status"], "Running")


async def pilot_search(kit: "Kit") -> None:
    admin, user = await kit.client("admin"), await kit.client("user")
    stamps = await registered(kit, 3)
    await admin.pilots.update_pilot_metadata({stamps[0]: PilotMetadata(status="Done", bench_mark=3.5)})
    mine = condition("PilotStamp", "in", stamps)

    async def found(*conditions: dict[str, Any]) -> list[int]:
        rows = await user.pilots.search(search=[mine, *conditions], parameters=["PilotStamp"])
        return sorted(stamps.index(row["PilotStamp"]) for row in rows)

    cases = [
        (("Status", "eq", "Done"), [0]),
        (("Status", "neq", "Done"), [1, 2]),
        (("Status", "in", ["Done", "Submitted"]), [0, 1, 2]),
        (("Status", "not in", ["Done"]), [1, 2]),
        (("PilotJobReference", "like", f"%{stamps[1]}"), [1]),
        (("PilotJobReference", "not like", f"%{stamps[1]}"), [0, 2]),
        (("PilotStamp", "regex", f"^({stamps[0]}|{stamps[2]})$"), [0, 2]),
        (("VO", "eq", kit.vo), [0, 1, 2]),
        (("SubmissionTime", "gt", str(datetime.now(UTC).year - 1)), [0, 1, 2]),
        (("SubmissionTime", "lt", str(datetime.now(UTC).year)), []),
        (("JobID", "eq", 2_000_000_000), []),
        (("JobID", "in", [2_000_000_000]), []),
    ]
    for case, expected in cases:
        kit.checks.equal(f"pilot search: {' '.join(map(str, case))}", await found(condition(*case)), expected)
    await kit.refused("pilot search: unknown column", found(condition("NoSuchColumn", "eq", "x")), 400)
    both = found(condition("JobID", "eq", 1), condition("PilotID", "eq", 1))
    await kit.refused("pilot search: JobID together with PilotID", both, 400)
    sort: Any = [{"parameter": "PilotStamp", "direction": "desc"}]
    rows, response = await user.pilots.search(
        search=[mine], sort=sort, page=1, per_page=2, cls=lambda answer, value, headers: (value, answer.http_response)
    )
    kit.checks.equal("pilot search: sorted page", [row["PilotStamp"] for row in rows], stamps[:0:-1])
    page = response.status_code, response.headers.get("Content-Range")
    kit.checks.equal("pilot search: Content-Range", page, (206, "pilots 0-1/3"))
    error = await kit.refused("pilot search: past the end", user.pilots.search(search=[mine], page=3, per_page=2), 416)
    if error and error.response:
        kit.checks.equal("pilot search: past the end, range", error.response.headers.get("Content-Range"), "pilots */3")
    counts = await user.pilots.summary(grouping=["Status"], search=[mine])
    seen = {row["Status"]: row["count"] for row in counts}
    kit.checks.equal("pilot summary", seen, {"Done": 1, "Submitted": 2})
    await kit.refused("pilot summary by an unknown column", user.pilots.summary(grouping=["NoSuchColumn"]), 400)


async def pilots_by_pilot(kit: "Kit") -> None:
    """What a pilot itself may do: register and describe one pilot at a time, and not look around."""
    if "pilot" not in kit.credentials:
        return
    pilot = await kit.client("pilot")
    mine, other = secrets.token_hex(16), (await registered(kit, 1))[0]
    await pilot.pilots.register_pilot(pilot_stamp=mine, vo=kit.vo)
    await pilot.pilots.update_pilot_metadata({mine: PilotMetadata(status="Running")})
    kit.checks.equal("pilot by itself: status", (await pilots_of(kit, [mine]))[mine]["Status"], "Running")
    both = pilot.pilots.update_pilot_metadata({stamp: PilotMetadata(status="Done") for stamp in (mine, other)})
    await kit.refused("pilot by itself: two pilots at once", both, 403)
    elsewhere = pilot.pilots.register_pilot(pilot_stamp=secrets.token_hex(16), vo="other.spinor.test")
    await kit.refused("pilot by itself: in another VO", elsewhere, 400, 403)
    await kit.refused("pilot by itself: search", pilot.pilots.search(), 403)


PARTS = [pilot_registration, pilot_metadata, pilot_search, pilots_by_pilot]
