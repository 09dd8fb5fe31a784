"""What `[delivery]` must be beside well-typed, whatever the kind of source."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping

from pipelines.sources.rows import probe
from pipelines.sources.rows.check_rule import At, Mistakes, check_zone
from pipelines.sources.rows.errors import Mistake, closest
from pipelines.sources.rows.model import ToldTime

#: A kind's own ways to tell a time: the key that says so, and what checks it.
OwnWays = Mapping[str, Callable[[ToldTime, At], Mistakes]]


def check_times(
    exported_at: ToldTime,
    data_through: Mapping[str, ToldTime],
    produced: Iterable[str],
    own: OwnWays,
    example: str,
) -> Mistakes:
    """Tell every mistake of the times of a delivery.

    Args:
        exported_at: where the time of export is told.
        data_through: where completeness is told, per event type or as `default`.
        produced: the event types that the mapping can make.
        own: ways to tell a time that only this kind of source has.
        example: how those are written.
    """
    at: At = ("delivery",)
    types = set(produced)
    yield from _source(exported_at, (*at, "exported_at"), own, example)
    for name, source in data_through.items():
        place = (*at, "data_through", name)
        yield from _source(source, place, own, example)
        if name != "default" and name not in types:
            cause = f"no file has rows of {name!r}."
            yield Mistake(place, cause, closest(name, {*types, "default"}))
    if "default" not in data_through:
        for name in sorted(types - set(data_through)):
            yield Mistake(
                (*at, "data_through"), f"nothing for {name}.", "Add it, or add a `default`."
            )


def _source(source: ToldTime, at: At, own: OwnWays, example: str) -> Mistakes:
    checks = {"literal": _literal, "sidecar": _sidecar, **own}
    given = [name for name in checks if getattr(source, name) not in (None, False)]
    if len(given) != 1:
        remedy = f"Write a time, {example} or {{ sidecar = ... }}."
        yield Mistake(at, "it must be told in exactly one way.", remedy)
        return
    yield from check_zone(source.zone, at)
    yield from checks[given[0]](source, at)


def _literal(source: ToldTime, at: At) -> Mistakes:
    if not probe.is_time(source.literal or "", "iso"):
        remedy = "Write it like 2026-01-06T02:00:00Z."
        yield Mistake(at, "not a time.", remedy)


def _sidecar(source: ToldTime, at: At) -> Mistakes:
    # Beside the data, or nobody would notice that it changed.
    if posixpath.basename(source.sidecar or "") != source.sidecar:
        yield Mistake(at, "not a file name.", "Name a file in the delivery: delivery.toml.")
