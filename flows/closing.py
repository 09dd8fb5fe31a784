"""What must be said at the end of a run: skipped, rejected, held, stale, provisional."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from flows.console import plural
from flows.context import RunContext
from pipelines.ingest.manifest import Manifest
from studies.load import Study
from warehouse.store import Store


def remark_on_rows(context: RunContext) -> None:
    """Remark on rows of this run that were set aside."""
    rejected = sum(one.n_rejected for one in context.incoming)
    if rejected:
        context.remark(
            f"{rejected:,} of {sum(one.n_rows for one in context.incoming):,} rows were "
            f"quarantined; `dripwatch quarantine list --rows` says which and why{_or_ask(context)}."
        )


def _or_ask(context: RunContext) -> str:
    if context.site.site.row_level != "internal":
        return ""
    return ", and so does `select * from quality.quarantine`"


def find_held(context: RunContext) -> list[str]:
    """Return the batches that wait for somebody.

    A held batch whose files were committed after all (read with a mended mapping) waits for nobody
    any more. Other files that were exported at the same time may tell something else: only people
    know whether they are the same delivery, mended.
    """
    in_force = context.log.in_force()
    waiting = []
    for held in context.log.held():
        name = f"Batch {held.batch_id[:12]} of {held.source}"
        if any(held.is_read_again_as(one) for one in in_force):
            context.remark(
                f"{name} is held but no longer waited for: its files have been read again and "
                "committed since. Its folder in log/held may be deleted."
            )
            continue
        waiting.append(held.batch_id)
        if any((one.source, one.exported_at) == _export(held) for one in in_force):
            context.remark(
                f"{name} is held, and other files of the same export have been committed. If they "
                "are the same delivery, mended, delete the batch's folder in log/held."
            )
    return waiting


def _export(manifest: Manifest) -> tuple[str, datetime]:
    return manifest.source, manifest.exported_at


def remark_on_held(context: RunContext) -> None:
    """Remark on every batch that is held, with its reasons."""
    for manifest in context.log.held():
        if manifest.batch_id not in context.held:
            continue
        reasons = " ".join(manifest.hold_reasons)
        context.remark(
            f"Held: batch {manifest.batch_id[:12]} of {manifest.source}, exported "
            f"{manifest.exported_at:%Y-%m-%d}. {reasons}"
        )


def remark_on_reading(context: RunContext) -> None:
    """Remark on batches that were read with another mapping or scope and are no longer there."""
    now = {facts.source: facts for facts in context.current.values()}
    old = [
        manifest
        for manifest in context.log.in_force()
        if manifest.batch_id not in context.current
        and (facts := now.get(manifest.source)) is not None
        and manifest.scope_hash != facts.scope_hash
    ]
    if old:
        context.remark(
            f"{plural(len(old), 'batch', 'batches')} to be delivered again: read under another "
            "scope, so that codes that are asked for now may be missing."
        )
    _remark_on_mappings(context)


def _remark_on_mappings(context: RunContext) -> None:
    zone = context.site.site.zone
    now = {name: mapping.content_hash(zone) for name, mapping in context.mappings.items()}
    old = [
        one
        for one in context.log.in_force()
        if one.batch_id not in context.current
        and one.source in now
        and one.mapping_hash != now[one.source]
    ]
    if old:
        context.remark(
            f"{plural(len(old), 'batch was', 'batches were')} read by an earlier mapping and no "
            "longer there to be read again: if the patient's namespace, strip_prefix or column "
            "has changed, PATIENTS ARE SPLIT. Deliver them again, or make sure that it has not."
        )


def remark_on_sources(context: RunContext) -> None:
    """Remark on batches of sources that site.toml no longer names; their records still count."""
    known = {source.name for source in context.site.source}
    gone = Counter(one.source for one in context.log.in_force() if one.source not in known)
    for name, count in sorted(gone.items()):
        context.remark(
            f"Source {name} is no longer in site.toml, but {plural(count, 'batch', 'batches')} of "
            "it still count. A source cannot be renamed: its name is part of every record's key."
        )


def remark_on_withheld(context: RunContext, store: Store) -> None:
    """Remark on de-identified rows that are not published; never on whom they would single out."""
    from warehouse.deidentified import judge

    if context.site.site.row_level != "deidentified":
        return
    told = judge(store.con, context.site)
    if told.is_told:
        return
    why = f"{told.reason}."
    if told.n_small_combinations:
        n_small = told.n_small_combinations
        many = f"{n_small:,}" if n_small >= told.min_cell else f"fewer than {told.min_cell}"
        why = (
            f"{many} of the combinations of {', '.join(told.row_columns)} that its units make are "
            f"held by fewer than {told.min_cell} patients. Name fewer columns in `[privacy] "
            "row_columns`. Counts and signals are published as ever."
        )
    context.remark(f"No rows of patients were published, though site.toml asks for them: {why}")


def remark_on_ties(context: RunContext, store: Store) -> None:
    """Remark on records that were told twice under one version with different contents."""
    rows = store.con.execute(
        "SELECT source, event_type, sum(n_tied) FROM quality.reconciliation "
        "WHERE n_tied > 0 GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for source, event_type, count in rows:
        context.remark(
            f"{source} told {plural(int(count), 'row')} of {event_type} again with the version of "
            "an earlier one but another content; which is the newer one cannot be told, and the "
            "greater content hash stands. `select * from quality.reconciliation where n_tied > 0`."
        )


def remark_on_empty_studies(context: RunContext, store: Store) -> None:
    """Remark on studies that have units and count none of them, with the reasons."""
    rows = store.con.execute(
        """SELECT study_id, coalesce(ineligible_reason, 'no reason'), count(*)::BIGINT
        FROM linkage.course
        WHERE study_id IN (SELECT study_id FROM linkage.course
                           GROUP BY study_id HAVING NOT bool_or(is_eligible))
        GROUP BY ALL ORDER BY study_id, 3 DESC, 2"""
    ).fetchall()
    for study_id in dict.fromkeys(row[0] for row in rows):
        reasons = [(row[1], int(row[2])) for row in rows if row[0] == study_id]
        told = ", ".join(reason + _shown(context, count) for reason, count in reasons)
        context.remark(f"{study_id}: none of its units is counted: {told}.")
    _remark_on_studies_without_units(context, store)


def _remark_on_studies_without_units(context: RunContext, store: Store) -> None:
    """Remark on studies whose drugs were given and of whose records none became a unit."""
    rows = store.con.execute(
        """SELECT study_id, step, sum(n)::BIGINT FROM linkage.attrition
        WHERE step_number <= 2 AND n > 0
            AND study_id NOT IN (SELECT study_id FROM linkage.course)
        GROUP BY study_id, step_number, step ORDER BY study_id, step_number, 3 DESC, step"""
    ).fetchall()
    for study_id in dict.fromkeys(row[0] for row in rows):
        told = [step + _shown(context, n) for study, step, n in rows if study == study_id]
        context.remark(f"{study_id}: no record became a unit: {', '.join(told)}.")


def _shown(context: RunContext, count: int) -> str:
    """A count for people, at a synthetic site: masked ones could be worked out from the others."""
    return f" ({count:,})" if context.site.site.synthetic else ""


def remark_on_feeds(context: RunContext, store: Store) -> None:
    """Remark on event types that outcomes need and nobody delivers."""
    through = store.data_through()
    for study in context.studies:
        for outcome in study.model.outcome:
            lacking = [name for name in study.reads(outcome) if name not in through]
            if lacking and outcome.publish:
                context.remark(
                    f"{study.id}: {outcome.name} needs {', '.join(lacking)}, "
                    "which no source delivers."
                )
        if "MedicationGiven" not in through and _looks_for_remedies(study):
            context.remark(
                f"{study.id}: no source delivers MedicationGiven, so `is_treated` sees infusions "
                "alone, and `false` says little."
            )


def _looks_for_remedies(study: Study) -> bool:
    remedies = {name for one in study.model.outcome for name in one.remedy_concepts}
    return any(
        row.concept in remedies and row.event_type == "MedicationGiven"
        for row in study.concept_rows()
    )


def remark_on_open_windows(context: RunContext, store: Store) -> None:
    """Remark on windows that are still open: their units are in no risk yet."""
    row = store.con.execute(
        "SELECT coalesce(sum(n_open), 0), count(DISTINCT (outcome, window_name)) FROM signals.risk "
        "WHERE stratum = 'all' AND is_headline AND n_open > 0"
    ).fetchone()
    if row and row[0]:
        context.remark(
            f"Provisional: windows of {row[1]} outcomes are still open for some units; "
            "they count once their windows have closed."
        )


def tell_numbers(context: RunContext, store: Store) -> None:
    """Put a synthetic site's numbers into the summary; a real one's stay in its warehouse."""
    if context.site.site.synthetic:
        context.headline = headline(store)
        context.attrition = attrition(store)


def headline(store: Store) -> tuple[tuple[str, str], ...]:
    """Return the first numbers of a synthetic site; a real site's stay in its warehouse."""
    rows = store.con.execute(
        """SELECT coalesce(o.label, r.outcome), r.stratum, r.stratum_value, r.n_events, r.n_units
        FROM signals.risk AS r
        LEFT JOIN reference.outcome AS o USING (study_id, outcome)
        JOIN (SELECT study_id, outcome, min(window_name) AS window_name,
                     bool_or(window_name = 'risk') AS has_risk
              FROM signals.risk GROUP BY ALL) AS w USING (study_id, outcome)
        WHERE r.is_headline AND o.is_published
            AND r.window_name = CASE WHEN w.has_risk THEN 'risk' ELSE w.window_name END
            AND (r.stratum = 'all' OR (r.stratum = 'ordinal' AND r.stratum_value = 'first'
                 AND r.outcome = 'any_side_effect'))
        ORDER BY r.outcome, r.stratum, r.stratum_value"""
    ).fetchall()
    return tuple((_label(row), f"{row[3]}/{row[4]} = {_percent(row)}") for row in rows)


def attrition(store: Store) -> tuple[tuple[str, str, int], ...]:
    """Return study, step and number from records to counted units, of a synthetic site."""
    rows = store.con.execute(
        """SELECT study_id, step, n FROM linkage.attrition
        ORDER BY study_id, step_number, n DESC, step"""
    ).fetchall()
    return tuple((study_id, step, int(n)) for study_id, step, n in rows)


def _label(row: tuple[str, str, str, int, int]) -> str:
    return f"{row[0]}, {'all units' if row[1] == 'all' else 'first in record'}"


def _percent(row: tuple[str, str, str, int, int]) -> str:
    return f"{100 * row[3] / row[4]:.1f} %" if row[4] else "no unit"
