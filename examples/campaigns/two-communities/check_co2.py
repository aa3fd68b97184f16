"""Compares with what is known of Mauna Loa: about 338 ppm at the start of 1980, growing by 1.3 to 1.7 ppm a year
around then and by 1.5 to 2 around 2000, with a seasonal swing of some 6 ppm that peaks in May."""

import glob
import json
import sys

(name,) = glob.glob("job-*/trend.json")
found = json.load(open(name))
expected = {
    "weeks": (2225, 2225),
    "ppm_1980": (337.5, 340),
    "ppm_per_year_1980": (1.2, 1.7),
    "ppm_per_year_2000": (1.4, 2.2),
    "seasonal_ppm": (5, 7),
    "peak_month": (5, 5),
}
for key, (least, most) in expected.items():
    if not least <= found[key] <= most:
        sys.exit(f"{key} is {found[key]}, expected {least} to {most}")
print(f"+{found['ppm_per_year_2000']:.2f} ppm a year in 2000, peak in month {found['peak_month']}")
