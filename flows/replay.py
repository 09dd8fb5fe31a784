"""`dripwatch replay` and `digest`: the log tells everything again, and the hashes must agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flows.console import Step, plural
from flows.context import RunContext
from flows.reply import Reply, UsageError, may_name
from flows.run import Stage, StageResult
from pipelines.base.errors import ExitCode, LogError
from pipelines.base.site import Site, load_site

if TYPE_CHECKING:
    from pipelines.ingest.past import PastLog
    from warehouse.digest import Level

#: Stages of a refresh that read deliveries; a replay knows only what is committed.
_OF_DELIVERIES = frozenset({"discover", "extract", "validate", "commit"})
#: Digits of a hash that people compare.
_WIDTH = 12


def digest_command(file: Path, level: str, answer: Reply) -> None:
    """Print the digest of a published file, and of each of its tables.

    Errors:
        UsageError: there is no such level.
        StorageError: there is no such file, or it is no DuckDB database.
    """
    from warehouse.digest import LEVELS, digest

    known: dict[str, Level] = {one: one for one in LEVELS}
    if level not in known:
        raise UsageError(
            "There is no such level.", remedy=f"Write `--level {' or `--level '.join(known)}`."
        )
    found = digest(file, known[level])
    answer.result = {"level": found.level, "digest": found.value, "tables": found.tables}
    answer.message = found.value
    lines = [*sorted(found.tables.items()), (level, found.value)]
    longest = max(len(name) for name, _ in lines)
    for name, value in lines:
        answer.console.say(f"{name:<{longest}}  {value}")


def replay_command(config: Path, answer: Reply, *, first: str | None, last: str | None) -> None:
    """Rebuild a site from its log, or show its nights beside it.

    Errors:
        UsageError: a night is no date, or nothing was exported then.
        LogError: the log is damaged; nothing was changed.
        LockedError: a refresh, or another replay, is at work.
    """
    site = load_site(config)
    may_name(site)
    if first is None and last is None:
        _rebuild(site, answer)
    else:
        _show_nights(site, answer, first, last)


# The whole site ----------------------------------------------------------------------------


@dataclass
class _Proof:
    """The store before it was emptied and after it was filled again.

    Attributes:
        before, after: digest of each table of linkage and signals; none where there was no store.
        inputs_before, inputs_after: hash of everything that linkage depends on.
        digest_before, digest_after: of the published file; None where there is none.
        n_batches: that the store holds now.
    """

    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    inputs_before: str | None = None
    inputs_after: str | None = None
    digest_before: str | None = None
    digest_after: str | None = None
    n_batches: int = 0

    @property
    def differ(self) -> list[str]:
        """The tables that are not as before."""
        return [one for one in self.after if self.before.get(one) != self.after[one]]

    @property
    def must_be_equal(self) -> bool:
        """Whether both were made from the same batches, studies, settings and code."""
        return bool(self.before) and self.inputs_before == self.inputs_after

    @property
    def verdict(self) -> str:
        """What came out, in a sentence."""
        made = f"Rebuilt from {plural(self.n_batches, 'batch', 'batches')} of the log: "
        if not self.before:
            return f"{made}there was no store to compare it with."
        if not self.differ:
            return f"{made}every table is as it was."
        since = "" if self.must_be_equal else " Something that results depend on has changed since."
        return f"{made}not as before: {', '.join(self.differ)}.{since}"


def _rebuild(site: Site, answer: Reply) -> None:
    from flows.refresh import answer_with, refresh

    proof = _Proof()
    result = refresh(site, console=answer.console, stages=_rebuilding(proof))
    answer_with(result, answer)
    answer.message = proof.verdict
    answer.result = {
        "run": result.to_json(),
        "n_batches": proof.n_batches,
        "digest": proof.digest_after,
        "digest_before": proof.digest_before,
        "must_be_equal": proof.must_be_equal,
        "is_equal": not proof.differ if proof.before else None,
        "tables_that_differ": proof.differ if proof.before else [],
    }
    answer.console.say(answer.message)
    if proof.must_be_equal and proof.differ:
        _tell_difference(answer, site, proof.differ)


def _rebuilding(proof: _Proof) -> list[Stage[RunContext]]:
    """Return the stages that make a site again from its log, and note what was there before."""
    from flows.plan import LINKED
    from flows.stages import STAGES
    from warehouse.guard import lost_batches
    from warehouse.store import Store

    def empty(context: RunContext, _step: Step) -> StageResult:
        context.is_replay = True
        proof.digest_before = _published(context.site)
        with Store(context.site, say=context.console.say) as store:
            known = {one.batch_id for one in context.log.committed()}
            if lost := set(store.batch_ids()) - known:
                raise lost_batches(context.log.root, sorted(lost))
            if not proof.before and not store.rebuilt_because:
                proof.before = store.state_digests()
                proof.inputs_before = store.get_state(LINKED)
            store.rebuild()
        context.remark("The site store was rebuilt from the log, as was asked for.")
        return StageResult("empty")

    def compare(context: RunContext, _step: Step) -> StageResult:
        proof.digest_after = _published(context.site)
        with Store(context.site, say=context.console.say) as store:
            proof.after, proof.n_batches = store.state_digests(), len(store.batch_ids())
            proof.inputs_after = store.get_state(LINKED)
        return StageResult("compare", note=f"{plural(len(proof.differ), 'table')} differ")

    kept = [one for one in STAGES if one.name not in _OF_DELIVERIES]
    return [
        Stage("verify", _verify),
        Stage("empty", empty, retries=2),
        *kept,
        Stage("compare", compare, retries=2),
    ]


def _verify(context: RunContext, _step: Step) -> StageResult:
    """Hold every file of the log against its hash before anything is thrown away."""
    batches = context.log.verify()
    if not batches:
        raise LogError(
            "The event log holds no batch.",
            where=str(context.log.root),
            remedy="Make sure that its disk is there; a new site has nothing to be rebuilt from.",
        )
    n_files = sum(len(one.event_files) for one in batches)
    return StageResult("verify", note=f"{plural(n_files, 'file')} of the log as written")


def _published(site: Site) -> str | None:
    from warehouse.digest import digest

    return digest(site.warehouse).value if site.warehouse.is_file() else None


def _tell_difference(answer: Reply, site: Site, differ: Sequence[str]) -> None:
    answer.exit_code = ExitCode.PROBLEMS
    answer.error = {
        "type": "ReplayDiffers",
        "what": f"{plural(len(differ), 'table')} came out differently from the same batches, "
        "studies and version.",
        "where": f"{site.store_path}: {', '.join(differ)}",
        "remedy": "What is published now is what the log says. Either the store was changed by "
        "hand, or this is a fault in Dripwatch: report it with the version.",
        "next_run": "Goes on from the rebuilt store.",
    }


# Night by night, beside the site -----------------------------------------------------------


@dataclass(frozen=True)
class Night:
    """One night of a replay, or all those before the first.

    Attributes:
        night: local date of the exports, ISO; `before` where they lie before the first night.
        n_batches: exported then.
        n_units: linked units after it, over all studies.
        state, history: digests of the warehouse as it was published then.
    """

    night: str
    n_batches: int
    n_units: int
    state: str
    history: str


def _show_nights(site: Site, answer: Reply, first: str | None, last: str | None) -> None:
    from flows.derived import end_of, read_date
    from pipelines.ingest.log import EventLog
    from pipelines.ingest.past import PastLog

    start = read_date(first) if first else date.min
    before = end_of(read_date(last), site.site.zone) if last else None
    log = PastLog(EventLog(site.log_root), before)
    told = []
    for night in _replayed(site, log, _nights(site, log, start), answer):
        told.append(night)
        answer.console.say(
            f"{night.night:<12}{plural(night.n_batches, 'batch', 'batches'):>12}"
            f"{plural(night.n_units, 'unit'):>16}  state {night.state[:_WIDTH]}"
            f"  history {night.history[:_WIDTH]}"
        )
    is_last = len(log.committed()) == len(EventLog(site.log_root).committed())
    is_published = told[-1].state == _published(site) if is_last else None
    answer.result = {"nights": [asdict(one) for one in told], "is_published": is_published}
    n_nights = sum(one.night != BEFORE for one in told)
    answer.message = (
        f"{plural(n_nights, 'night')} replayed beside the site, which is as it was."
        f"{_PUBLISHED[is_published]}"
    )
    answer.console.say(answer.message)


BEFORE = "before"

_PUBLISHED = {
    None: "",
    True: " The last one is what is published.",
    False: " What is published is not the last one: refresh, or replay the whole site.",
}


def _nights(site: Site, log: PastLog, start: date) -> list[tuple[str, date]]:
    """Return label and last date of each step: what lies before `start`, then every night."""
    from flows.derived import night_of

    exported = sorted({night_of(one.exported_at, site.site.zone) for one in log.committed()})
    nights = [(night.isoformat(), night) for night in exported if night >= start]
    if not nights:
        raise UsageError(
            "No batch of the log was exported in these nights.",
            where=str(site.log_root),
            remedy="Name others; `ops.batch` of the warehouse lists every export.",
        )
    if exported[0] < start:
        nights.insert(0, (BEFORE, start - timedelta(days=1)))
    return nights


def _replayed(
    site: Site, log: PastLog, nights: Sequence[tuple[str, date]], answer: Reply
) -> Iterator[Night]:
    from flows.derived import bring_up, derived_context, derived_site, end_of, n_units, publish
    from flows.refresh import new_run_id
    from pipelines.ingest.past import PastLog
    from warehouse.digest import digest

    n_before = 0
    with derived_site(site) as derived:
        for label, night in nights:
            past = PastLog(log, end_of(night, site.site.zone))
            context = derived_context(derived, past, answer.console, run_id=new_run_id())
            bring_up(context)
            publish(context)
            n_batches = len(past.committed())
            yield Night(
                night=label,
                n_batches=n_batches - n_before,
                n_units=n_units(derived),
                state=digest(derived.warehouse).value,
                history=digest(derived.warehouse, "history").value,
            )
            n_before = n_batches
