"""Local time to UTC equals Python's zoneinfo, on every transition of every zone."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from importlib import resources

import numpy as np
import pyarrow as pa
import pytest

from pipelines.base import duck, zones
from pipelines.base.errors import ConfigError

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive arithmetic, no zone involved
FROM, UNTIL = datetime(1969, 12, 25, tzinfo=UTC), datetime(2031, 1, 7, tzinfo=UTC)


def tzif_transitions(zone: str) -> list[int]:
    """All instants listed in a zone's TZif file (RFC 8536), read without the code under test."""
    data = resources.files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()
    counts = struct.unpack(">6l", data[20:44])
    isutc, isstd, leap, times, types, chars = counts
    second = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isutc
    if data[4:5] < b"2":
        return list(struct.unpack(f">{times}l", data[44 : 44 + 4 * times]))
    n_times = struct.unpack(">6l", data[second + 20 : second + 44])[3]
    start = second + 44
    return list(struct.unpack(f">{n_times}q", data[start : start + 8 * n_times]))


def rule_transitions(zone: str, first_year: int, last_year: int) -> list[int]:
    """Instants at which zoneinfo's offset differs from the hour before, by brute force."""
    tz = zones.load_zone(zone)
    lo = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
    hi = int(datetime(last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = []
    last = datetime.fromtimestamp(lo, tz).utcoffset()
    # coarse to keep 600 zones quick: yearly rules hold for weeks, and change on a half-hour
    for day in range(lo, hi, 86_400 * 3):
        now = datetime.fromtimestamp(day + 86_400 * 3, tz).utcoffset()
        if now != last:
            steps = range(day, day + 86_400 * 3 + 1, 1800)
            offsets = [datetime.fromtimestamp(s, tz).utcoffset() for s in steps]
            found += [steps[i] for i in range(1, len(steps)) if offsets[i] != offsets[i - 1]]
        last = now
    return found


def local_probes(zone: str, instants: list[int]) -> list[datetime]:
    """Wall-clock times beside, inside and at the ends of the gap or fold of each transition."""
    tz = zones.load_zone(zone)
    probes = set()
    for instant in instants:
        for side in (-1, 0):
            offset = datetime.fromtimestamp(instant + side, tz).utcoffset()
            assert offset is not None
            edge = EPOCH + timedelta(seconds=instant) + offset
            probes |= {
                edge + timedelta(microseconds=m)
                for m in (-1, 0, 1, 600_000_000, -600_000_000, 3_600_000_000, -3_600_000_000)
            }
    return sorted(probes)


def utc_by_zoneinfo(local: datetime, tz: object, fold: int) -> datetime:
    return local.replace(tzinfo=tz, fold=fold).astimezone(UTC).replace(tzinfo=None)  # type: ignore[arg-type]


def assert_equal_to_zoneinfo(zone: str, instants: list[int]) -> None:
    probes = local_probes(zone, instants)
    if not probes:
        return
    tz = zones.load_zone(zone)
    array = np.array(probes, "datetime64[us]")
    for fold in (0, 1):
        ours = zones.local_to_utc(array, zone, fold=fold).tolist()
        expected = [utc_by_zoneinfo(probe, tz, fold) for probe in probes]
        assert ours == expected, (zone, fold)
    utc = [EPOCH + timedelta(seconds=i, microseconds=m) for i in instants for m in (-1, 0, 1)]
    local = zones.utc_to_local(np.array(utc, "datetime64[us]"), zone).tolist()
    assert local == [
        u.replace(tzinfo=UTC).astimezone(tz).replace(tzinfo=None, fold=0) for u in utc
    ], zone


def one_zone_per_content() -> list[str]:
    """Zones that are links to another hold the same bytes: compare each content once."""
    folder = resources.files("tzdata").joinpath("zoneinfo")
    by_content = {folder.joinpath(*z.split("/")).read_bytes(): z for z in sorted(KNOWN)}
    return sorted(by_content.values())


KNOWN = zones.known_zones()
ALL = one_zone_per_content()


@pytest.mark.no_cover  # the loops of the test are what would be traced
@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 8))]
)
def test_every_zone_equals_zoneinfo_on_every_transition_1970_to_2030_and_in_2150(part: int) -> None:
    lo, hi = FROM.timestamp(), UNTIL.timestamp()
    compared = 0
    for zone in ALL[part::8]:
        listed = [t for t in tzif_transitions(zone) if lo <= t <= hi]
        by_rule = rule_transitions(zone, 2025, 2030) + rule_transitions(zone, 2150, 2150)
        instants = sorted({*listed, *by_rule, int(lo), 5_680_281_600})
        assert_equal_to_zoneinfo(zone, instants)
        compared += len(instants)
    assert compared > 500


def test_the_package_knows_the_zones_that_a_site_may_name() -> None:
    assert {"Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"} <= KNOWN
    assert len(ALL) > 300
    assert zones.tzdata_version()[:2] == "20"


@pytest.mark.no_cover
@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_hourly_brute_force_finds_no_transition_that_the_table_lacks(zone: str) -> None:
    tz = zones.load_zone(zone)
    start = int(datetime(1970, 1, 1, tzinfo=UTC).timestamp())
    hours = range(start, int(datetime(2031, 1, 1, tzinfo=UTC).timestamp()), 3600)
    expected = [datetime.fromtimestamp(h, tz).replace(tzinfo=None, fold=0) for h in hours]
    ours = zones.utc_to_local(np.array(hours, "datetime64[s]"), zone)
    assert ours.tolist() == expected


@pytest.mark.no_cover
@pytest.mark.parametrize("year", [1700, 1, 2438, 2439, 2440, 2839, 3150, 9998])
@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Dublin", "Asia/Kathmandu"])
def test_years_far_from_the_table_equal_zoneinfo(zone: str, year: int) -> None:
    tz = zones.load_zone(zone)
    first = datetime(year, 1, 2)  # noqa: DTZ001 - a wall-clock time
    probes = [first + timedelta(hours=h) for h in range(0, 8760 - 48, 1)]
    for fold in (0, 1):
        ours = zones.local_to_utc(np.array(probes, "datetime64[us]"), zone, fold=fold)
        assert ours.tolist() == [utc_by_zoneinfo(p, tz, fold) for p in probes]


def flags_of(texts: list[str], zone: str) -> list[str | None]:
    flags: list[str | None] = zones.local_time_flags(
        np.array(texts, "datetime64[us]"), zone
    ).tolist()
    return flags


def test_a_fold_is_ambiguous_from_its_first_to_its_last_microsecond() -> None:
    texts = [
        "2021-10-31T01:59:59.999999",
        "2021-10-31T02:00:00",
        "2021-10-31T02:59:59.999999",
        "2021-10-31T03:00:00",
    ]
    twice = "ambiguous_local_time"
    assert flags_of(texts, "Europe/Berlin") == [None, twice, twice, None]


def test_a_gap_is_missing_and_is_shifted_forward() -> None:
    texts = ["2180-03-12T01:59:59", "2180-03-12T02:00:00", "2180-03-12T02:30:00"]
    never = "missing_local_time"
    assert flags_of([*texts, "2180-03-12T03:00:00"], "America/New_York") == [
        None,
        never,
        never,
        None,
    ]
    utc = zones.local_to_utc(np.array(texts[2:], "datetime64[us]"), "America/New_York")
    back = zones.utc_to_local(utc, "America/New_York")
    assert back.tolist() == [datetime(2180, 3, 12, 3, 30)]  # noqa: DTZ001 - a wall-clock time


def test_missing_times_stay_missing() -> None:
    nothing = np.array(["NaT", "2020-01-01"], "datetime64[us]")
    assert np.isnat(zones.local_to_utc(nothing, "Asia/Tokyo")).tolist() == [True, False]
    assert np.isnat(zones.utc_to_local(nothing, "Asia/Tokyo")).tolist() == [True, False]
    assert flags_of(["NaT"], "Asia/Tokyo") == [None]


def test_one_datetime_becomes_aware_utc_and_its_fold_counts() -> None:
    local = datetime(2021, 10, 31, 2, 30)  # noqa: DTZ001 - a wall-clock time
    assert zones.to_utc(local, "Europe/Berlin") == datetime(2021, 10, 31, 0, 30, tzinfo=UTC)
    again = local.replace(fold=1)
    assert zones.to_utc(again, "Europe/Berlin") == datetime(2021, 10, 31, 1, 30, tzinfo=UTC)


def test_an_unknown_zone_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no such IANA time zone"):
        zones.load_zone("Mars/Olympus")


def test_sql_functions_equal_python_and_keep_nulls_over_mixed_zones() -> None:
    con = duck.connect()
    zones.install(con)
    n = 6000  # more than two of DuckDB's vectors
    names = ["Europe/Berlin", "America/New_York", None]
    times = [
        None if i % 7 == 0 else datetime(2021, 10, 1) + timedelta(minutes=15 * i)  # noqa: DTZ001
        for i in range(n)
    ]
    table = pa.table(
        {
            "i": range(n),
            "t": pa.array(times, pa.timestamp("us")),
            "z": [names[i % 3] for i in range(n)],
            "f": pa.array([None if i % 11 == 0 else i % 2 for i in range(n)], pa.int32()),
        }
    )
    con.register("input", table)
    rows = con.execute(
        "SELECT t, z, f, local_to_utc(t, z, f), utc_to_local(t, z), local_time_flag(t, z) "
        "FROM input ORDER BY i"
    ).fetchall()
    con.close()
    assert len(rows) == n
    seen = set()
    for t, z, f, utc, local, flag in rows:
        if t is None or z is None:
            assert (utc, local, flag) == (None, None, None)
            continue
        tz = zones.load_zone(z)
        assert utc == (None if f is None else utc_by_zoneinfo(t, tz, f))
        assert local == t.replace(tzinfo=UTC).astimezone(tz).replace(tzinfo=None, fold=0)
        first, second = utc_by_zoneinfo(t, tz, 0), utc_by_zoneinfo(t, tz, 1)
        assert (flag == "ambiguous_local_time") == (first < second)
        assert (flag == "missing_local_time") == (first > second)
        seen.add(flag)
    assert "ambiguous_local_time" in seen


def test_sql_functions_fold_constants_and_take_empty_input() -> None:
    con = duck.connect()
    zones.install(con)
    one = con.execute(
        "SELECT local_to_utc(TIMESTAMP '2150-07-01 12:00:00', 'America/New_York', 0)"
    ).fetchone()
    none = con.execute(
        "SELECT local_to_utc(t, 'Asia/Tokyo', 0), local_time_flag(t, 'Asia/Tokyo') "
        "FROM (SELECT NULL::TIMESTAMP AS t) WHERE t IS NOT NULL"
    ).fetchall()
    con.close()
    assert one == (datetime(2150, 7, 1, 16),)  # noqa: DTZ001 - naive UTC
    assert none == []
