"""Integrates 4 / (1 + x^2) over 0..1, each core its part."""

import json
import multiprocessing
import os

CORES = int(os.environ["SPINOR_CORES"])
STEPS = 600_000


def part(core):
    xs = ((i + 0.5) / STEPS for i in range(core, STEPS, CORES))
    return os.getpid(), sum(4 / (1 + x * x) for x in xs) / STEPS


if __name__ == "__main__":
    with multiprocessing.Pool(CORES) as pool:
        parts = pool.map(part, range(CORES), chunksize=1)
    with open("cores.json", "w") as out:
        json.dump({"cores": CORES, "sum": sum(value for _, value in parts)}, out)
