"""The only place where a hospital's wall clock becomes UTC, or UTC a wall clock.

Arrow, Polars and DuckDB each answer differently from Python's `zoneinfo` on some transition
(an hour off after 2037, or the other side of a fold), so none of them converts zones here. A
zone's transitions are found once by asking `zoneinfo`, then whole columns are looked up in them.
Zone data come from the pinned `tzdata` package, never from the machine, so that two machines
agree on every instant.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType
from duckdb.sqltypes import INTEGER, TIMESTAMP, VARCHAR

from pipelines.base.transitions import (
    Micros,
    known_zones,
    load_zone,
    transitions,
    tzdata_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

__all__ = [
    "install",
    "known_zones",
    "load_zone",
    "local_time_flags",
    "local_to_utc",
    "to_utc",
    "tzdata_version",
    "utc_to_local",
]

Instants = npt.NDArray[np.datetime64]


def _to_utc(local: Micros, zone: str, fold: int) -> Micros:
    return local - transitions(zone).wall[fold].offset_at(local)


def _micros(times: Instants) -> tuple[Micros, npt.NDArray[np.bool_]]:
    """Return integer microseconds and where times are missing (there the integers are 0)."""
    missing = np.isnat(times)
    return np.where(missing, 0, times.astype("datetime64[us]").astype(np.int64)), missing


def _instants(micros: Micros, missing: npt.NDArray[np.bool_]) -> Instants:
    result = micros.astype("datetime64[us]")
    result[missing] = np.datetime64("NaT")
    return result


def local_to_utc(times: Instants, zone: str, fold: int = 0) -> Instants:
    """Return the UTC instants of local wall-clock times; NaT stays NaT.

    An ambiguous time is its first occurrence with fold 0, its second with fold 1. A time in a
    missing hour is shifted forward with fold 0 (02:30 becomes 03:30), backward with fold 1.

    Args:
        times: datetime64 of any unit, shape (n,).
        zone: IANA name.
        fold: 0 or 1, as in PEP 495.

    Errors:
        ConfigError: there is no such zone.
    """
    micros, missing = _micros(times)
    return _instants(_to_utc(micros, zone, fold), missing)


def utc_to_local(times: Instants, zone: str) -> Instants:
    """Return the wall-clock times of UTC instants, datetime64[us] of shape (n,); NaT stays NaT.

    Errors:
        ConfigError: there is no such zone.
    """
    micros, missing = _micros(times)
    return _instants(micros + transitions(zone).utc.offset_at(micros), missing)


def to_utc(local: datetime, zone: str) -> datetime:
    """Return one naive local time (its `fold` is honoured) as an aware UTC datetime.

    Errors:
        ConfigError: there is no such zone.
    """
    moment = local_to_utc(np.array([local.replace(fold=0)], "datetime64[us]"), zone, local.fold)
    naive: datetime = moment[0].item()
    return naive.replace(tzinfo=UTC)


AMBIGUOUS = "ambiguous_local_time"
MISSING = "missing_local_time"


def local_time_flags(times: Instants, zone: str) -> npt.NDArray[np.object_]:
    """Say of each local time whether it happened twice, never, or once (None).

    Errors:
        ConfigError: there is no such zone.
    """
    micros, absent = _micros(times)
    first, second = _to_utc(micros, zone, 0), _to_utc(micros, zone, 1)
    flags = np.full(len(times), None, dtype=np.object_)
    flags[(first < second) & ~absent] = AMBIGUOUS
    flags[(first > second) & ~absent] = MISSING
    return flags


def install(con: duckdb.DuckDBPyConnection) -> None:
    """Register `local_to_utc`, `utc_to_local` and `local_time_flag` as SQL functions.

    A second call does nothing. They are vectorised over Arrow, free of side effects, and null
    where an argument is null:
    `local_to_utc(ts TIMESTAMP, zone VARCHAR, fold INTEGER) -> TIMESTAMP`,
    `utc_to_local(ts TIMESTAMP, zone VARCHAR) -> TIMESTAMP` and
    `local_time_flag(ts TIMESTAMP, zone VARCHAR) -> VARCHAR`
    (null, `ambiguous_local_time` or `missing_local_time`).
    """
    known = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'local_to_utc'"
    if con.execute(known).fetchone():
        return
    times = [TIMESTAMP, VARCHAR]
    register = partial(
        con.create_function,
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
        side_effects=False,
    )
    register("local_to_utc", _sql_local_to_utc, [*times, INTEGER], TIMESTAMP)
    register("utc_to_local", _sql_utc_to_local, times, TIMESTAMP)
    register("local_time_flag", _sql_local_time_flag, times, VARCHAR)


def _flat(column: Any) -> Any:  # noqa: ANN401 - Arrow
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _by_zone(
    times: Any,  # noqa: ANN401 - Arrow
    zones: Any,  # noqa: ANN401 - Arrow
    convert: Callable[[Instants, str], npt.NDArray[Any]],
    result: npt.NDArray[Any],
) -> npt.NDArray[Any]:
    """Apply `convert` once per distinct zone and put the parts back in their places."""
    instants = _flat(times).cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    coded = _flat(zones).dictionary_encode()
    if coded.null_count == 0 and len(coded.dictionary) == 1:  # nearly always: a site has one zone
        return convert(instants, coded.dictionary[0].as_py())
    index = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for code, zone in enumerate(coded.dictionary.to_pylist()):
        if zone is not None:
            rows = np.flatnonzero(index == code)
            result[rows] = convert(instants[rows], zone)
    return result


def _nothing(size: int) -> Instants:
    return np.full(size, np.datetime64("NaT"), dtype="datetime64[us]")


def _sql_local_to_utc(times: Any, zones: Any, folds: Any) -> Any:  # noqa: ANN401 - Arrow
    fold = _flat(folds).fill_null(-1).to_numpy(zero_copy_only=False)
    result = _nothing(len(fold))
    for side in (0, 1):
        chosen = fold == side
        if chosen.any():
            whole = _by_zone(times, zones, partial(local_to_utc, fold=side), _nothing(len(fold)))
            result[chosen] = whole[chosen]
    return pa.array(result, pa.timestamp("us"))


def _sql_utc_to_local(times: Any, zones: Any) -> Any:  # noqa: ANN401 - Arrow
    result = _by_zone(times, zones, utc_to_local, _nothing(len(times)))
    return pa.array(result, pa.timestamp("us"))


def _sql_local_time_flag(times: Any, zones: Any) -> Any:  # noqa: ANN401 - Arrow
    flags = _by_zone(times, zones, local_time_flags, np.full(len(times), None, dtype=np.object_))
    return pa.array(flags, pa.string()) if flags.any() else pa.nulls(len(flags), pa.string())
