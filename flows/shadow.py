"""`refresh --study`: a study beside the one that runs, on the same events, and what differs.

Both are linked here and now, from the same batches by the same code, so that whatever differs
comes from the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.beside import BESIDE, label, refuse_to_replace
from flows.console import Console, plural
from flows.context import RunContext
from flows.derived import bring_up, derived_context, derived_site, publish, put_in_place
from flows.refresh import new_run_id
from flows.reply import Reply, UsageError
from pipelines.base.files import make_private, write_durably
from pipelines.base.site import Site

if TYPE_CHECKING:
    from pipelines.ingest.past import PastLog
    from pipelines.ingest.rescope import LeftOut
    from studies.diff import StudyDiff
    from studies.load import Study
    from warehouse.compare import RiskPair, Risks

Attrition = list[tuple[str, int]]


@dataclass(frozen=True)
class Shadow:
    """A study held against the one that runs.

    Attributes:
        site: whose events.
        running, new: the two studies.
        as_of: last date of export that counts; None where all do.
        n_batches: batches in force that both were linked from.
        definitions: what differs between the two.
        left_out: what the new one asks for that was never ingested.
        steps: from records to units: step, number of the running one, of the new one.
        signals: every row of `signals.risk`, side by side.
    """

    site: Site
    running: Study
    new: Study
    as_of: str | None
    n_batches: int
    definitions: StudyDiff
    left_out: LeftOut
    steps: tuple[tuple[str, int, int], ...]
    signals: tuple[RiskPair, ...]

    @property
    def different(self) -> tuple[RiskPair, ...]:
        """The signals that differ."""
        return tuple(one for one in self.signals if one.differs)

    def _may_name(self, pair: RiskPair) -> bool:
        """Tell whether it may be said that a signal differs: not of one over a few units."""
        least = min((side or {"n_units": 0})["n_units"] for side in (pair.old, pair.new))
        return bool(least >= self.site.privacy.min_cell)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON-ready values; numbers only of invented patients."""
        with_numbers = self.site.site.synthetic
        named = [one for one in self.different if with_numbers or self._may_name(one)]
        return {
            "as_of": self.as_of,
            "n_batches": self.n_batches,
            "running": _named(self.running),
            "new": _named(self.new),
            "definitions": self.definitions.to_json(),
            "needs_reingest": {
                "codes": [one._asdict() for one in self.left_out.codes],
                "n_rows": self.left_out.n_rows,
                "batches": list(self.left_out.batches),
            },
            "signals": {
                "n_compared": len(self.signals),
                "n_different": len(self.different),
                "different": [_row(one, with_numbers=with_numbers) for one in named],
            },
            "steps": [{"step": step, "running": old, "new": new} for step, old, new in self.steps]
            if with_numbers
            else [],
        }


def _named(study: Study) -> dict[str, str]:
    head = study.model.study
    return {"study_id": study.id, "version": head.version, "study_hash": study.study_hash}


def _row(pair: RiskPair, *, with_numbers: bool) -> dict[str, Any]:
    told = asdict(pair)
    return told if with_numbers else {name: told[name] for name in told.keys() - {"old", "new"}}


def shadow(
    site: Site, log: PastLog, path: str, answer: Reply, *, as_of: str | None, out: Path | None
) -> None:
    """Link a study beside the running one, compare the two, and leave a page and a warehouse.

    Args:
        site: whose events.
        log: the batches that count.
        path: folder of the study, or a shipped name.
        answer: gets the comparison.
        as_of: as in `Shadow`.
        out: file for the warehouse of the study; None: in `restricted/shadow`.

    Errors:
        ConfigError: the study is wrong.
        UsageError: no study of the site can be told to be its counterpart, or the file must not be
            replaced.
    """
    from flows.shadow_page import as_csv, console_parts, page
    from studies.load import load_study

    # The command line's paths start at the working folder, unlike those in site.toml.
    new = load_study(path, Path.cwd())
    running = load_running(site)
    folder = make_private(make_private(site.restricted) / "shadow")
    target = out or folder / f"{new.id}.duckdb"
    refuse_to_replace(site, target)
    found = compare(site, log, counterpart(running, new), new, answer.console, target, as_of)
    place = folder / f"{new.id}.md"
    write_durably(place, page(found).encode(), mode=0o600)
    write_durably(place.with_suffix(".csv"), as_csv(found).encode(), mode=0o600)
    answer.result = {**found.to_json(), "page": str(place), "warehouse": str(target)}
    for title, header, rows in console_parts(found):
        answer.console.table(title, header, rows)
    answer.message = (
        f"{label(site)}{new.id} {new.model.study.version} beside {found.running.id} "
        f"{found.running.model.study.version}: {len(found.different):,} of "
        f"{plural(len(found.signals), 'signal')} differ. {_lacking(found.left_out)}Page: {place}. "
        "Nothing that runs was touched."
    )
    answer.console.say(answer.message)


def _lacking(left: LeftOut) -> str:
    if not left.batches:
        return ""
    batches = plural(len(left.batches), "batch", "batches")
    return f"{batches} must be delivered again, read without codes that it asks for. "


def load_running(site: Site) -> list[Study]:
    """Return the studies of site.toml."""
    from studies.load import load_study

    return [load_study(name, site.root) for name in site.site.studies]


def counterpart(running: Sequence[Study], new: Study) -> Study:
    """Return the running study of the same id, else the only one."""
    same = [one for one in running if one.id == new.id] or running
    if len(same) > 1:
        raise UsageError(
            f"The site runs {plural(len(running), 'study', 'studies')}, and none of them is called "
            f"{new.id}: it cannot be told which one to hold it against.",
            remedy="Give the new study the id of the one that it shall replace.",
        )
    return same[0]


def compare(
    site: Site,
    log: PastLog,
    running: Study,
    new: Study,
    console: Console,
    target: Path,
    as_of: str | None = None,
) -> Shadow:
    """Link both studies in a derived site and return what differs; `target` gets the new one's."""
    from pipelines.ingest.rescope import left_out
    from studies.diff import diff_studies
    from warehouse.compare import side_by_side

    with derived_site(site) as derived:
        told = []
        for study in (running, new):
            context = derived_context(derived, log, console, run_id=new_run_id(), studies=[study])
            told.append(_linked(context, study))
        facts = {BESIDE: "study", **({"as_of": as_of} if as_of else {})}
        put_in_place(publish(context), target, facts)
    (old_risks, old_steps), (new_risks, new_steps) = told
    whole = site.site.scope == "all"
    scope = None if whole else [row for one in load_running(site) for row in one.concept_rows()]
    return Shadow(
        site=site,
        running=running,
        new=new,
        as_of=as_of,
        n_batches=len(log.in_force()),
        definitions=diff_studies(running, new),
        left_out=left_out(scope, new.concept_rows(), log.in_force()),
        steps=_side_by_side(old_steps, new_steps),
        signals=tuple(side_by_side(old_risks, new_risks)),
    )


def _linked(context: RunContext, study: Study) -> tuple[Risks, Attrition]:
    from flows.closing import attrition
    from warehouse.compare import read_risks
    from warehouse.store import Store

    bring_up(context)
    with Store(context.site) as store:
        return read_risks(store.con, study.id), [row[1:] for row in attrition(store)]


def _side_by_side(old: Attrition, new: Attrition) -> tuple[tuple[str, int, int], ...]:
    names = dict.fromkeys(step for step, _ in (*new, *old))
    before, after = dict(old), dict(new)
    return tuple((name, before.get(name, 0), after.get(name, 0)) for name in names)
