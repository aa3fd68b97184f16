"""The integral is pi, and two cores were given."""

import glob
import json
import math
import sys

(name,) = glob.glob("job-*/cores.json")
found = json.load(open(name))
if found["cores"] != 2 or abs(found["sum"] - math.pi) > 1e-9:
    sys.exit(f"expected pi on 2 cores, found {found}")
print(f"pi = {found['sum']:.9f} on {found['cores']} cores")
