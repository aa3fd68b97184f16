"""Adds the scan up and compares with pi, within four standard errors."""

import glob
import json
import math
import sys

results = [json.load(open(name)) for name in glob.glob("job-*/pi-*.json")]
seeds = sorted(result["seed"] for result in results)
if seeds != list(range(1, 201)):
    sys.exit(f"expected seeds 1 to 200 once each, found {len(seeds)}")
darts = sum(result["darts"] for result in results)
share = sum(result["inside"] for result in results) / darts
pi, error = 4 * share, 4 * math.sqrt(share * (1 - share) / darts)
verdict = f"pi = {pi:.5f} +- {error:.5f} from {darts} darts"
if abs(pi - math.pi) > 4 * error:
    sys.exit(f"{verdict}: {abs(pi - math.pi) / error:.1f} standard errors off")
print(verdict)
