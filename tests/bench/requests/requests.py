#!/usr/bin/env python3
"""Requests a second, latencies and CPU time a request of servers that speak DiracX's REST API, side by side.

    python3 requests.py --target spinor=http://127.0.0.1:8085=TOKEN_FILE=PID [--target diracx=URL=TOKEN_FILE=PID,PID] \
        [--jobs 100000] [--seconds 10] [--rounds 3]

Needs wrk (Debian: apt-get install wrk). Every case is run against each target in turn, ROUNDS times; shown are medians,
and the ratio of the first target to the others. CPU time is that of the processes whose pids are given, with all their
threads; give a database's pid too. Jobs are submitted first, until the first job number is JOBS away from the last.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
REST = 'Site = "NOWHERE.never.test"; JobGroup = "load"; CPUTime = 600;'
JDL = 'Executable = "/bin/true"; ' + REST


@dataclass
class Target:
    name: str
    url: str
    token: str
    pids: list[int]

    def cpu_ms(self) -> float:
        total = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total * 1000 / TICKS

    def call(self, method: str, path: str, body: object) -> object:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def submit(self, jobs: int, size: int) -> list[int]:
        ids: list[int] = []
        while len(ids) < jobs:
            inserted = self.call("POST", "/api/jobs/jdl", [JDL] * min(size, jobs - len(ids)))
            assert isinstance(inserted, list)
            ids += [job["JobID"] for job in inserted]
        return ids

    def most(self) -> str:
        """The status that most jobs have: no two servers call it the same until a job runs."""
        counts = self.call("POST", "/api/jobs/summary", {"grouping": ["Status"]})
        assert isinstance(counts, list)
        return str(max(counts, key=lambda row: row["count"])["Status"])


@dataclass
class Case:
    name: str
    method: str
    path: str
    body: str  # a Lua expression; `id` is one of the target's jobs, `n` another number each time, `status` that of most jobs
    connections: int
    units: int = 1


def cases(batch: int) -> list[Case]:
    one, many = json.dumps([JDL]), json.dumps([JDL] * batch)
    unlike = json.dumps([f'Executable = "/bin/true"; Arguments = "|"; {REST}']).split("|")
    search = json.dumps({"search": [{"parameter": "Status", "operator": "eq", "value": "|"}]}).split("|")
    summary = json.dumps({"grouping": ["Status"]})
    status = '\'{"\' .. id .. \'":{"\' .. os.date("!%Y-%m-%dT%H:%M:%SZ") .. \'":{"ApplicationStatus":"step"}}}\''
    beat = '\'{"\' .. id .. \'":{"LoadAverage":1.0,"MemoryUsed":100.0}}\''
    return [
        Case("submit 1, 8 connections", "POST", "/api/jobs/jdl", f"[==[{one}]==]", 8),
        Case("submit 1, 64 connections", "POST", "/api/jobs/jdl", f"[==[{one}]==]", 64),
        Case("submit 1 unlike, 64", "POST", "/api/jobs/jdl", " .. n .. ".join(f"[==[{part}]==]" for part in unlike), 64),
        Case(f"submit {batch}, 8 connections", "POST", "/api/jobs/jdl", f"[==[{many}]==]", 8, batch),
        Case("search page of 100, 8", "POST", "/api/jobs/search?per_page=100", " .. status .. ".join(f"[==[{part}]==]" for part in search), 8),
        Case("summary, 8", "POST", "/api/jobs/summary", f"[==[{summary}]==]", 8),
        Case("status, 8", "PATCH", "/api/jobs/status", status, 8),
        Case("status, 64", "PATCH", "/api/jobs/status", status, 64),
        Case("heartbeat, 8", "PATCH", "/api/jobs/heartbeat", beat, 8),
        Case("heartbeat, 64", "PATCH", "/api/jobs/heartbeat", beat, 64),
    ]


LUA = """
local first, last = {first}, {last}
local status = "{status}"
local id, n = first, os.time() % 100000 * 10000
wrk.headers["Authorization"] = "Bearer {token}"
wrk.headers["Content-Type"] = "application/json"
request = function()
  id, n = id + 1, n + 1
  if id > last then id = first end
  return wrk.format("{method}", "{path}", nil, {body})
end
local failed = 0
response = function(status)
  if status >= 300 then failed = failed + 1 end
end
done = function(summary, latency)
  io.write(string.format("RESULT %d %d %d %f %f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass
class Result:
    rate: float
    p50: float
    p99: float
    cpu: float
    errors: int


def run(target: Target, case: Case, ids: list[int], seconds: int) -> Result:
    script = LUA.format(
        first=min(ids), last=max(ids), status=target.most(), token=target.token, method=case.method,
        path=case.path, body=case.body,
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--timeout", "30s", "-s", file.name]
        before = target.cpu_ms()
        output = subprocess.run([*command, target.url], capture_output=True, text=True, check=True).stdout
        cpu = target.cpu_ms() - before
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\S+) (\S+)", output)
    assert found, output
    requests, micros, errors = (int(found[i]) for i in (1, 2, 3))
    rate = requests / micros * 1e6
    return Result(rate, float(found[4]) / 1000, float(found[5]) / 1000, cpu / max(requests, 1), errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", required=True, help="NAME=URL=TOKEN_FILE=PID[,PID...]")
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the database before it begins")
    parser.add_argument("--batch", type=int, default=100, help="jobs of a batched submission")
    parser.add_argument("--fill", type=int, default=20, help="jobs a request while filling")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=99, help="only the first so many")
    options = parser.parse_args()
    targets, ids = [], {}
    for text in options.target:
        name, url, token, pids = text.split("=")
        target = Target(name, url, Path(token).read_text().strip(), [int(pid) for pid in pids.split(",")])
        targets.append(target)
        ids[name] = target.submit(options.jobs, options.fill)
        print(f"{name}: jobs {min(ids[name])} to {max(ids[name])}", flush=True)
    print(f"{'case':<28}{'target':<10}{'req/s':>9}{'units/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU-ms':>9}{'errors':>8}{'ratio':>8}")
    for case in cases(options.batch)[: options.cases]:
        results: dict[str, list[Result]] = {target.name: [] for target in targets}
        for _ in range(options.rounds):
            for target in targets:
                results[target.name].append(run(target, case, ids[target.name], options.seconds))
        median = {
            name: {field: statistics.median(getattr(r, field) for r in runs) for field in ("rate", "p50", "p99", "cpu")}
            for name, runs in results.items()
        }
        first = median[targets[0].name]
        for target in targets:
            m = median[target.name]
            errors = sum(result.errors for result in results[target.name])
            ratio = "" if target is targets[0] else f"{first['rate'] / m['rate']:.0f}x"
            print(
                f"{case.name:<28}{target.name:<10}{m['rate']:>9.0f}{m['rate'] * case.units:>9.0f}{m['p50']:>9.2f}"
                f"{m['p99']:>9.2f}{m['cpu']:>9.3f}{errors:>8}{ratio:>8}",
                flush=True,
            )


if __name__ == "__main__":
    main()
