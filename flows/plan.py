"""What a run would do: deliveries to read, and whether anything must be linked again."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from importlib import metadata
from pathlib import Path

from flows.console import Step
from flows.context import Incoming, RunContext, code_hash
from pipelines.base.errors import ConfigError

#: Name under which the store keeps what it was last linked from.
LINKED = "linked_inputs"


def find_deliveries(context: RunContext, step: Step) -> None:
    """Look into every inbox; sort what lies there into new and known, oldest export first.

    Errors:
        ConfigError: a mapping is wrong.
        DeliveryError: a delivery's declared facts cannot be read.
    """
    from pipelines.sources import source_kind
    from pipelines.sources.rows.delivery import scope_hash
    from pipelines.sources.rows.folders import discover, loose_files

    site, scope = context.site, context.scope
    in_force = {one.batch_id for one in context.log.in_force()}
    replaced = {one.batch_id for one in context.log.committed()} - in_force
    seen = in_force | {one.batch_id for one in context.log.held()}
    incoming: list[Incoming] = []
    for source in site.source:
        mapping, kind = context.mappings[source.name], source_kind(source.kind)
        how = {
            "site": [site.site.id, site.site.zone],
            "source": source.model_dump(mode="json"),
            "mapping": mapping.content_hash(site.site.zone),
            "scope": scope_hash(scope),
            "parser": kind.parser_version,
        }
        if n_loose := loose_files(site, source):
            context.remark(
                f"{n_loose} entries of the inbox of {source.name} are in no delivery's folder and "
                "were not read; move them into one, or set `layout` in site.toml."
            )
        for delivery in discover(site, source):
            facts = context.inbox.facts(
                delivery, how, partial(kind.describe, delivery, mapping, site, scope)
            )
            step.advance(source.name)
            context.current[facts.batch_id] = facts
            for text in facts.remarks:
                context.remark(text)
            if facts.batch_id in replaced:
                raise _read_back(source.name, site.at(source.mapping))
            if facts.batch_id in seen:
                context.known.append(facts.batch_id)
            else:
                staging = site.staging / f"{facts.batch_id}.duckdb"
                incoming.append(Incoming(source, mapping, facts, staging))
                seen.add(facts.batch_id)
    _refuse_split_patients(context, incoming)
    _refuse_renamed_source(context, incoming)
    context.incoming = sorted(incoming, key=lambda one: (one.facts.exported_at, one.facts.batch_id))


def _refuse_split_patients(context: RunContext, incoming: list[Incoming]) -> None:
    """Refuse a mapping under which patients of batches that stay would become other ones."""
    read_again = [(one.facts.source, {file.sha256 for file in one.facts.files}) for one in incoming]
    for batch in context.log.in_force():
        mapping = context.mappings.get(batch.source)
        if mapping is None or set(batch.namespaces) <= set(mapping.namespaces):
            continue
        if (batch.source, batch.content) not in read_again:
            raise ConfigError(
                f"The mapping of {batch.source} no longer uses a patient namespace that a batch in "
                "force was read with: one patient would be counted as two.",
                where=f"{mapping.path}; batch {batch.batch_id}",
                remedy="Write the old `namespace` again, or deliver all earlier deliveries again "
                "so that they are read with the new one.",
                next_run="Stops here again; nothing was read.",
            )


def _refuse_renamed_source(context: RunContext, incoming: list[Incoming]) -> None:
    """Refuse files that a source which is gone from site.toml has delivered already."""
    known = {source.name for source in context.site.source}
    gone = [one for one in context.log.in_force() if one.source not in known]
    for one in incoming:
        content = {file.sha256 for file in one.facts.files}
        for batch in gone:
            if content and batch.content == content:
                raise ConfigError(
                    f"A delivery of {one.source.name} was read before as one of {batch.source}, "
                    "which is no longer in site.toml: its records would count twice.",
                    where=f"batch {batch.batch_id}",
                    remedy=f"Name the source {batch.source} again: names of sources are part of "
                    "every record's key.",
                    next_run="Stops here again; nothing was read.",
                )


def _read_back(source: str, mapping: Path) -> ConfigError:
    return ConfigError(
        f"A delivery of {source} was read like this before, and then again in another way, which "
        "took its place.",
        where=str(mapping),
        remedy="Raise `revision` at the top of the mapping: readings only go forward, so that "
        "the log can tell which one counts.",
    )


def inputs_hash(context: RunContext, batch_ids: list[str]) -> str:
    """Return a hash of everything that linkage and signals are a function of."""
    content = {"batches": sorted(batch_ids), **inputs_parts(context)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def inputs_parts(context: RunContext) -> dict[str, object]:
    """Return all of that but the batches; where it changes, nothing linked before can be kept."""
    site = context.site.site
    feeds = context.site.feeds
    return {
        "studies": {study.id: study.study_hash for study in context.studies},
        "software": [metadata.version("dripwatch"), code_hash()],
        "settings": [
            *(site.id, site.zone, site.scope, site.patients),
            *(feeds.quiet_after_days, sorted(feeds.believed)),
        ],
    }


def would_link(context: RunContext) -> str:
    """Say what linkage would do, without opening the store: it may not be there yet.

    Whether it would come to everybody, for a changed study or new software, is known once the store
    is open; `link` says so then.
    """
    if not context.site.store_path.exists():
        return "Everything would be linked: there is no site store yet."
    if context.incoming:
        return "The patients whom the new deliveries touch would be linked."
    committed = [one.batch_id for one in context.log.in_force()]
    known = _linked_inputs(context)
    if known is None:
        return "It cannot be told whether anything would be linked: the store is in use."
    if known != inputs_hash(context, committed):
        return "Everything would be linked: something else than the deliveries has changed."
    return "Nothing would be linked: nothing has changed."


def _linked_inputs(context: RunContext) -> str | None:
    import duckdb

    from pipelines.base import duck

    try:
        with duck.connect(context.site.store_path, read_only=True) as con:
            row = con.execute("SELECT value FROM ops.state WHERE name = ?", [LINKED]).fetchone()
    except duckdb.Error:
        return None
    return str(row[0]) if row else ""
