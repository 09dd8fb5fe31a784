"""The numbers, codes and times at which patients of the tests are edgy."""

from __future__ import annotations

from datetime import timedelta

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
DRUGS = ("77655", "77655", "11473", "11473", "11473", "115264")
#: First infusions; the second row lies on days whose clocks change, or just before. No event falls
#: on midnight itself, where one that is known by its day only would begin at the same moment.
STARTS = (
    "2024-03-01 09:05", "2024-03-01 21:25", "2024-06-12 08:15", "2024-02-28 10:05",
    "2024-04-05 09:05", "2024-04-07 01:35", "2024-10-04 22:55", "2024-10-06 03:35",
    "2024-06-12 23:47",
)  # fmt: skip
HOURS_TO_NEXT = (0, 0, 1 / 12, 1, 2, 2.5, 12, 23, 24, 48, 71, 72, 73, 96, 97, 120, 340, 85 * 24)
ORDERS = ("order", "order", "other")
DURATIONS = (None, 0.25, 0.5, 0.5, 2, 4, 26)
EDGES = (
    -90 * 24, -14 * 24, -100, -72, -25, -24, -3, -1, 0, 1 / 6, 0.5, 1, 1.5, 2, 6, 24, 30, 47, 48,
    71, 72, 73, 100, 144, 336, 360,
)  # fmt: skip
SHIFTS = (timedelta(), timedelta(), SECOND, -SECOND, timedelta(minutes=30))
BIRTHS = (
    "2003-03-01", "2003-03-02", "2003-06-13", "2004-02-29", "2014-03-02", "2014-03-03",
    "2016-05-10", "2020-10-05", "2022-04-06", "2012-03-03", "2009-03-02", "2024-01-31",
)  # fmt: skip
REACTIONS = ("R50.9", "R51.9", "R51.9", "R68.83", "R11.0", "M79.10", "M89.8X9", "R00.0", "J11.1")
CELSIUS = (36.9, 37.94, 37.95, 38.0, 38.3, 39.0, 39.05, 39.1, 40.0, 40.1, 40.2)
FAHRENHEIT = (98.6, 100.3, 100.31, 100.4, 102.2, 102.3, 104.0, 104.2)
HEART_RATES = (84, 100, 101, 117, 120, 125, 140, 141, 150, 168, 190, 191)
#: code, unit, values, limits of normal as printed
LABS: tuple[tuple[str, str, tuple[float, ...], tuple[float | None, ...]], ...] = (
    ("17861-6", "mg/dL", (5.9, 6.0, 6.9, 7.0, 7.9, 8.0, 8.3, 8.5, 9.0, 9.6), (None, 8.5, 7.5)),
    ("17861-6", "mmol/L", (1.49, 1.5, 1.75, 1.99, 2.0, 2.11, 2.12, 2.3, 2.4), (None, 2.12)),
    ("17861-6", "mEq/L", (3.4, 3.9, 4.0, 4.3), (None, 4.2)),
    ("2777-1", "mg/dL", (0.9, 1.92, 2.0, 2.4, 2.5, 3.6, 3.7), (None, 2.9)),
    ("2777-1", "mmol/L", (0.29, 0.59, 0.6, 0.62, 0.8, 1.19, 1.2), (None, 1.0)),
    ("2160-0", "mg/dL", (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.2, 0.3), (None,)),
    ("14682-9", "umol/L", (26.5, 35.4, 53.0), (None,)),
)
#: What is drawn beside a total: code, unit, values.
BESIDE: tuple[tuple[str, str, tuple[float, ...]], ...] = (
    ("1995-0", "mmol/L", (0.79, 0.8, 0.9, 0.99, 1.0, 1.12, 1.2)),
    ("1994-3", "mg/dL", (3.1, 3.6, 4.0, 4.4, 5.0)),
    ("1751-7", "g/dL", (2.0, 2.9, 3.9, 4.0, 4.1)),
    ("1751-7", "g/L", (20.0, 29.0, 39.0, 40.0, 42.0)),
)
HISTORY = ("Q78.0", "Q78.0", "M80.08XA", "G71.01", "G80.1", "T38.0X5A", "Z79.52")
