"""What `[delivery]` and `[files]` of a FHIR mapping must be beside well-typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import schemas
from pipelines.sources.fhir.delivery_model import ExportRule, ExportTime, FilesRule
from pipelines.sources.rows.check_delivery import check_times
from pipelines.sources.rows.check_rule import At, Mistakes
from pipelines.sources.rows.errors import Mistake, closest
from pipelines.sources.rows.model import ToldTime

_ELEMENT = re.compile(r"[a-z][A-Za-z0-9]*(\[\d{1,3}\])?(\.[a-z][A-Za-z0-9]*(\[\d{1,3}\])?)*")


def check_export(
    rule: ExportRule,
    files: FilesRule,
    resource_types: Iterable[str],
    types_of: Callable[[str], tuple[str, ...]],
) -> Mistakes:
    """Tell every mistake of `[delivery]` and `[files]`.

    Args:
        rule: `[delivery]`.
        files: `[files]`.
        resource_types: the types that rules or look-ups read.
        types_of: the event types that resources of a type can become.
    """
    known = set(resource_types)

    def resource(source: ToldTime, at: At) -> Mistakes:
        return _resource(source, at, known) if isinstance(source, ExportTime) else iter(())

    produced = {event_type for name in known for event_type in types_of(name)}
    own = {"manifest": lambda _source, _at: iter(()), "resource": resource}
    example = '"manifest", { resource = ..., element = ... }'
    yield from check_times(rule.exported_at, rule.data_through, produced, own, example)
    for number, name in enumerate(rule.delivers):
        if name not in known | set(schemas.CLINICAL_TYPES):
            remedy = closest(name, known | produced)
            yield Mistake(
                ("delivery", "delivers", number), f"no rule makes events of {name!r}.", remedy
            )
    for number, pattern in enumerate(files.ignore):
        if not pattern or "/" in pattern or "\\" in pattern:
            remedy = 'Write a pattern of the file name alone, such as "*.md".'
            yield Mistake(("files", "ignore", number), "no pattern of a file name.", remedy)


def _resource(source: ExportTime, at: At, known: set[str]) -> Mistakes:
    if source.resource not in known:
        yield Mistake(
            at, f"no rule reads {source.resource!r}.", closest(str(source.resource), known)
        )
    if not _ELEMENT.fullmatch(source.element or ""):
        remedy = "Write it like effectiveDateTime, effectivePeriod.end or meta.lastUpdated."
        yield Mistake(at, "no path of an element.", remedy)
