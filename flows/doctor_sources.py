"""What `dripwatch doctor` finds about sources: their mappings, their deliveries, what they feed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from flows.installation import Finding
from flows.reply import as_ours
from pipelines.base.errors import DripwatchError
from pipelines.base.site import Site, SourceTable

if TYPE_CHECKING:
    from pipelines.sources import SourceMapping
    from pipelines.sources.rows.folders import DeliveryFolder
    from studies.load import Study


def failed(what: str, error: Exception) -> Finding:
    """Return the finding that something would fail, in the words of its error."""
    ours = as_ours(error)
    where = f" ({ours.where})" if ours.where else ""
    return Finding("fail", what, f"{ours.what}{where}", ours.remedy)


def mappings(site: Site) -> Iterator[Finding]:
    """Find mistakes of mappings."""
    from pipelines.sources import source_kind

    for source in site.source:
        what = f"mapping of {source.name}"
        try:
            source_kind(source.kind).load_mapping(site.at(source.mapping))
        except DripwatchError as error:
            yield failed(what, error)
        else:
            yield Finding("ok", what, str(source.mapping))


def _readable_mappings(site: Site) -> dict[str, SourceMapping]:
    """Return the mappings without mistakes, by source; `mappings` tells of the others."""
    from pipelines.sources import source_kind

    found = {}
    for source in site.source:
        with suppress(DripwatchError):
            load = source_kind(source.kind).load_mapping
            found[source.name] = load(site.at(source.mapping))
    return found


def deliveries(site: Site) -> Iterator[Finding]:
    """Find deliveries that are not there, or that do not tell what their mapping asks of them."""
    from pipelines.sources.rows.folders import discover

    readable = _readable_mappings(site)
    for source in site.source:
        what, folder = f"deliveries of {source.name}", site.at(source.path)
        if not folder.is_dir():
            yield Finding(
                "warn", what, f"{folder} is not there", "Make it, or mend `path` of the source."
            )
            continue
        found = discover(site, source)
        hint = "" if found else "Nothing to read: check `path`, `layout` and `marker`."
        yield Finding("ok" if found else "warn", what, f"{len(found)} in {folder}", hint)
        if mapping := readable.get(source.name):
            for delivery in found:
                yield from _delivery(site, source, mapping, delivery)


def _delivery(
    site: Site, source: SourceTable, mapping: SourceMapping, delivery: DeliveryFolder
) -> Iterator[Finding]:
    from pipelines.sources import source_kind

    try:
        facts = source_kind(source.kind).describe(delivery, mapping, site, "all")
    except DripwatchError as error:
        yield failed(delivery.where, error)
        return
    for text in facts.remarks:
        yield Finding("ok", delivery.where, text)


def feeds(site: Site) -> Iterator[Finding]:
    """Find outcomes that nobody delivers the events for: they would be untested for ever."""
    readable = _readable_mappings(site)
    if len(readable) < len(site.source):
        return  # what is delivered cannot be told
    delivered = {name for mapping in readable.values() for name in mapping.event_types}
    if site.site.patients == "implied":
        delivered.add("PatientRegistered")
    elif "PatientRegistered" not in delivered:
        yield Finding(
            "fail",
            "patients",
            "no mapping delivers PatientRegistered",
            'Map the patients, or write patients = "implied" in site.toml.',
        )
    for study in _readable_studies(site):
        if _needs_diagnoses(study) and "DiagnosisRecorded" not in delivered:
            yield Finding(
                "warn",
                f"study {study.id}",
                "needs an indication, but no mapping delivers DiagnosisRecorded: no unit counts",
                "Map the diagnoses, or set `requires_indication = false` in the study.",
            )
        for outcome in study.model.outcome:
            lacking = [name for name in study.reads(outcome) if name not in delivered]
            if lacking and outcome.publish:
                yield Finding(
                    "warn",
                    f"outcome {outcome.name}",
                    f"needs {', '.join(lacking)}, which no mapping delivers",
                    "Map a source of them, or expect it to be unobserved or untested.",
                )


def _needs_diagnoses(study: Study) -> bool:
    return study.model.eligibility.requires_indication


def _readable_studies(site: Site) -> list[Study]:
    """Return the studies without mistakes; `doctor` tells of the others."""
    from studies.load import load_study

    found = []
    for name in site.site.studies:
        with suppress(DripwatchError):
            found.append(load_study(name, site.root))
    return found
