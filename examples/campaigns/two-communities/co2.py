"""Fits a parabola and a yearly wave with its overtone to weekly CO2 at Mauna Loa (least squares)."""

import csv
import datetime
import json
import math
import sys

source, target = sys.argv[1:]


def year(day):
    date = datetime.date(int(day[:4]), int(day[4:6]), int(day[6:]))
    start = datetime.date(date.year, 1, 1)
    return date.year + (date - start).days / 365.25


with open(source) as lines:
    weeks = [(year(row["date"]), float(row["co2"])) for row in csv.DictReader(lines) if row["co2"]]


def terms(t):
    wave = 2 * math.pi * t
    waves = [math.cos(wave), math.sin(wave), math.cos(2 * wave), math.sin(2 * wave)]
    return [1.0, t - 1980, (t - 1980) ** 2] + waves


def solve(matrix, vector):
    n = len(vector)
    rows = [list(row) + [value] for row, value in zip(matrix, vector)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(n):
            if r != i:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i])]
    return [rows[i][n] / rows[i][i] for i in range(n)]


columns = [terms(t) for t, _ in weeks]
size = len(columns[0])
normal = [[sum(c[i] * c[j] for c in columns) for j in range(size)] for i in range(size)]
right = [sum(c[i] * value for c, (_, value) in zip(columns, weeks)) for i in range(size)]
level, slope, bend, *season = solve(normal, right)
days = [sum(a * w for a, w in zip(season, terms(day / 365)[3:])) for day in range(365)]
result = {
    "weeks": len(weeks),
    "ppm_1980": level,
    "ppm_per_year_1980": slope,
    "ppm_per_year_2000": slope + 40 * bend,
    "seasonal_ppm": max(days) - min(days),
    "peak_month": 1 + days.index(max(days)) * 12 // 365,
}
with open(target, "w") as out:
    json.dump(result, out)
print(json.dumps(result))
