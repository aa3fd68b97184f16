"""Checks of the client's sandbox operations, and of diracx-api, which uploads and downloads with them."""

import hashlib
import json
import urllib.request
from typing import TYPE_CHECKING

from diracx.api.jobs import create_sandbox, download_sandbox
from diracx.client.models import BodyJobsUnassignBulkJobsSandboxes, SandboxInfo

from operations_jobs import submitted

if TYPE_CHECKING:
    from operations import Kit

TOO_LARGE = 104_857_601  # one byte more than DiracX takes


async def transfer(kit: "Kit") -> None:
    client = await kit.client("user")
    folder = kit.work / "input"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "data.bin").write_bytes(bytes(range(256)) * 400)
    (folder / "hello.sh").write_text("#!/bin/sh\necho hello\n")
    (folder / "hello.sh").chmod(0o755)
    pfn = await create_sandbox([folder / "deep", folder / "hello.sh"], client=client)
    identity = await client.auth.userinfo()
    owner = f"/{kit.vo}/{identity.dirac_group}/{identity.preferred_username}/sha256:"
    kit.checks.that(
        "sandbox: PFN", pfn.startswith("SB:") and "|/S3/" in pfn and owner in pfn and pfn.endswith(".tar.zst"), pfn
    )
    back = kit.work / "back"
    await download_sandbox(pfn, back, client=client)
    kit.checks.equal("sandbox: script", (back / "hello.sh").read_text(), "#!/bin/sh\necho hello\n")
    kit.checks.that("sandbox: script can be run", bool((back / "hello.sh").stat().st_mode & 0o100))
    kit.checks.equal("sandbox: data", (back / "deep" / "data.bin").read_bytes(), bytes(range(256)) * 400)
    await known_sandbox(kit, pfn)


async def known_sandbox(kit: "Kit", pfn: str) -> None:
    """An archive that the server already has is not uploaded again; the URL needs no token."""
    client = await kit.client("user")
    link = await client.jobs.get_sandbox_file(pfn=pfn)
    kit.checks.that("sandbox: the link expires", 0 < link.expires_in <= 3600, link.expires_in)
    with urllib.request.urlopen(link.url, timeout=30) as response:
        archive = response.read()
    checksum = hashlib.sha256(archive).hexdigest()
    kit.checks.that("sandbox: the PFN holds the archive's checksum", f"sha256:{checksum}." in pfn, (pfn, checksum))
    info = SandboxInfo(checksum_algorithm="sha256", checksum=checksum, size=len(archive), format="tar.zst")
    known = await client.jobs.initiate_sandbox_upload(info)
    kit.checks.equal("sandbox: no second upload", (known.pfn, known.url), (pfn, None))
    short = await client.jobs.get_sandbox_file(pfn=pfn.partition("|")[2])
    kit.checks.that("sandbox: PFN without its SB: part", bool(short.url), short.as_dict())
    fresh = SandboxInfo(checksum_algorithm="sha256", checksum="0" * 64, size=7, format="tar.bz2")
    offer = await client.jobs.initiate_sandbox_upload(fresh)
    kit.checks.that("sandbox: offer of a form", bool(offer.url) and "key" in (offer.fields or {}), offer.as_dict())
    large = SandboxInfo(checksum_algorithm="sha256", checksum="1" * 64, size=TOO_LARGE, format="tar.zst")
    await kit.refused("sandbox: too large", client.jobs.initiate_sandbox_upload(large), 400)
    odd = SandboxInfo(checksum_algorithm="sha256", checksum="not hexadecimal", size=7, format="tar.zst")
    await kit.refused("sandbox: no checksum", client.jobs.initiate_sandbox_upload(odd), 422)
    await kit.refused("sandbox: a PFN that is none", client.jobs.get_sandbox_file(pfn="/etc/passwd"), 400, 422)
    login = await kit.client("login")
    await kit.refused("sandbox: another user's", login.jobs.get_sandbox_file(pfn=pfn), 403)
    anonymous = await kit.client("anonymous")
    await kit.refused("sandbox without a token", anonymous.jobs.get_sandbox_file(pfn=pfn), 401)


async def assignment(kit: "Kit") -> None:
    client, login = await kit.client("user"), await kit.client("login")
    jobs = client.jobs
    _, (job_id, other) = await submitted(kit, "output", "other")
    report = kit.work / "report.txt"
    report.write_text(f"report of job {job_id}\n")
    pfn = await create_sandbox([report], client=client)
    kit.checks.equal("sandboxes of a new job", await jobs.get_job_sandboxes(job_id), {"Input": [], "Output": []})
    body = json.dumps(pfn)  # the client announces JSON but sends the string as it is: the quotes are the caller's
    foreign = login.jobs.assign_sandbox_to_job(job_id, body)
    await kit.refused("assigning to another user's job", foreign, 403)
    await jobs.assign_sandbox_to_job(job_id, body)
    output = await jobs.get_job_sandbox(job_id, "output")
    kit.checks.equal("assigned output sandbox", len(output), 1)
    kit.checks.that("assigned output sandbox's PFN", output[0].endswith(pfn.partition("|")[2]), (output, pfn))
    kit.checks.equal("a job's sandboxes", await jobs.get_job_sandboxes(job_id), {"Input": [], "Output": output})
    kit.checks.equal("a job's input sandboxes", await jobs.get_job_sandbox(job_id, "input"), [])
    kit.checks.equal("another job's output sandboxes", await jobs.get_job_sandbox(other, "output"), [])
    folder = kit.work / "output"
    await download_sandbox(output[0], folder, client=client)
    kit.checks.equal("output by its PFN", (folder / "report.txt").read_text(), f"report of job {job_id}\n")
    await kit.refused("assigning twice", jobs.assign_sandbox_to_job(job_id, body), 400)
    missing = pfn.partition("sha256:")[0] + "sha256:" + "2" * 64 + ".tar.zst"
    await kit.refused(
        "assigning a sandbox that is not there", jobs.assign_sandbox_to_job(other, json.dumps(missing)), 400
    )
    await kit.refused("sandboxes of another user's job", login.jobs.get_job_sandboxes(job_id), 403)
    await kit.refused("an unknown kind of sandbox", jobs.get_job_sandbox(job_id, "sideways"), 422)
    await jobs.unassign_job_sandboxes(job_id)
    kit.checks.equal("unassigned", await jobs.get_job_sandbox(job_id, "output"), [])
    await jobs.assign_sandbox_to_job(job_id, body)
    await jobs.unassign_bulk_jobs_sandboxes(BodyJobsUnassignBulkJobsSandboxes(job_ids=[job_id, other]))
    kit.checks.equal("unassigned in bulk", await jobs.get_job_sandbox(job_id, "output"), [])


PARTS = [transfer, assignment]
