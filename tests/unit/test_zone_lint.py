"""Only pipelines/base/zones.py converts zones: every other way is an error, here and for ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = {".venv", "build", "dist", ".git", ".mypy_cache", ".ruff_cache", "node_modules"}
#: The function itself, an independent count that must use none of our code, the lines below.
ALLOWED = {
    "pipelines/base/zones.py",
    "pipelines/base/transitions.py",
    "tests/functional/test_mimic.py",
    "tests/unit/test_zone_lint.py",
}
#: Tests may ask Python's own zoneinfo: it is the judge, and a reference must not use our code.
ZONEINFO = {"astimezone to anything but UTC", "fromtimestamp in anything but UTC", "ZoneInfo"}
UTC = r"(?:datetime\.|dt\.)?(?:UTC|timezone\.utc)"

FORBIDDEN: dict[str, str] = {
    "AT TIME ZONE": r"(?i)\bAT\s+TIME\s+ZONE\b",
    "astimezone to anything but UTC": rf"\.astimezone\((?!\s*(?:tz\s*=\s*)?{UTC}\s*\))",
    "fromtimestamp in anything but UTC": (
        rf"\bfromtimestamp\((?![^()]*,\s*(?:tz\s*=\s*)?{UTC}\s*\))"
    ),
    "ZoneInfo": r"\bZoneInfo\s*[.(]",
    "pytz or dateutil zones": r"\bpytz\b|\bdateutil\.tz\b|\bgettz\s*\(",
    "SQL timezone()": r"(?i)\btimezone\s*\(\s*(?:'|\"|\w+\.?\w*\s*,)",
    # dropping the label of a UTC column converts nothing
    "Polars zones": r"\b(?:convert_time_zone|replace_time_zone(?!\(None\)))\b",
    "pandas zones": r"\btz_(?:localize|convert)\b",
    "Arrow zones": r"\bassume_timezone\b|\blocal_timestamp\s*\(",
    "a session zone other than UTC": (
        r"(?i)\bSET\s+(?:SESSION\s+|GLOBAL\s+)?TimeZone\s*(?:=|\bTO\b)(?!\s*'UTC')"
    ),
    "the machine's zone": r"\btime\.(?:localtime|mktime|tzset)\s*\(|\bto_local_time\b",
}


def offences(text: str) -> list[tuple[int, str]]:
    """Line and kind of every zone conversion in a text."""
    return [
        (number, kind)
        for number, line in enumerate(text.splitlines(), start=1)
        for kind, pattern in FORBIDDEN.items()
        if re.search(pattern, line)
    ]


def scanned() -> list[Path]:
    files = [*ROOT.rglob("*.py"), *ROOT.rglob("*.sql")]
    return [f for f in files if not SKIP & set(f.relative_to(ROOT).parts)]


def test_nothing_but_zones_py_converts_zones() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {kind}"
        for file in scanned()
        if file.relative_to(ROOT).as_posix() not in ALLOWED
        for line, kind in offences(file.read_text(encoding="utf-8"))
        if not (kind in ZONEINFO and file.is_relative_to(ROOT / "tests"))
    ]
    assert not found, "use pipelines.base.zones:\n" + "\n".join(found)


def test_the_scan_reads_the_code_and_its_sql() -> None:
    names = {f.relative_to(ROOT).as_posix() for f in scanned()}
    assert {"pipelines/base/site.py", "pipelines/base/zones.py"} <= names


@pytest.mark.parametrize(
    "line",
    [
        "SELECT charttime AT TIME ZONE 'Europe/Berlin' FROM lab",
        "select charttime at  time zone zone",
        "SELECT timezone('Asia/Tokyo', ts)",
        "SELECT timezone(e.zone, e.ts)",
        "moment.astimezone(tz)",
        "moment.astimezone()",
        "datetime.fromtimestamp(0, tz)",
        "datetime.fromtimestamp(0)",
        'tz = ZoneInfo("Europe/Berlin")',
        'tz = zoneinfo.ZoneInfo.no_cache("Europe/Berlin")',
        'column.dt.convert_time_zone("Europe/Berlin")',
        'column.dt.replace_time_zone("Europe/Berlin")',
        'series.tz_localize("Europe/Berlin")',
        'series.dt.tz_convert("Europe/Berlin")',
        'pc.assume_timezone(column, "Europe/Berlin")',
        "pc.local_timestamp(column)",
        "import pytz",
        "SET TimeZone = 'Europe/Berlin'",
        "set timezone to 'America/New_York'",
        "time.localtime()",
    ],
)
def test_a_planted_conversion_is_caught(line: str) -> None:
    assert offences(f"# fine\n    {line}\n")[0][0] == 2


@pytest.mark.parametrize(
    "line",
    [
        "moment.astimezone(UTC)",
        "moment.astimezone(timezone.utc)",
        "datetime.fromtimestamp(seconds, tz=UTC)",
        "con.execute(\"SET TimeZone = 'UTC'\")",
        "zoneinfo.available_timezones()",
        "local_to_utc(ts, zone, 0)",
        "from datetime import timezone",
    ],
)
def test_utc_and_the_shared_functions_pass(line: str) -> None:
    assert offences(line) == []
