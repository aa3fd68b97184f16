"""Throws darts at a square and counts those inside its quarter circle."""

import argparse
import json
import random

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--darts", type=int, required=True)
parser.add_argument("--out", required=True)
options = parser.parse_args()

dice = random.Random(options.seed)
inside = sum(dice.random() ** 2 + dice.random() ** 2 <= 1 for _ in range(options.darts))
with open(options.out, "w") as out:
    json.dump({"seed": options.seed, "darts": options.darts, "inside": inside}, out)
print(f"seed {options.seed}: {inside} of {options.darts} darts inside")
