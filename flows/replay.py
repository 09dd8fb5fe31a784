"""`dripwatch replay` and `digest`: the log tells everything again, and the hashes must agree."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.console import Step, plural
from flows.context import RunContext
from flows.reply import Reply, UsageError, may_name
from flows.run import Stage, StageResult
from pipelines.base.errors import ExitCode, KeyFileError, LockedError, LogError, StorageError
from pipelines.base.site import Site, load_site

if TYPE_CHECKING:
    from warehouse.digest import Level

#: Stages of a refresh that read deliveries; a replay knows only what is committed.
_OF_DELIVERIES = frozenset({"discover", "extract", "validate", "commit"})


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
        from flows.nights import show_nights

        show_nights(site, answer, first, last)


@dataclass
class Proof:
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

    proof = Proof()
    result = refresh(site, console=answer.console, stages=rebuilding(proof))
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


def remember(site: Site, proof: Proof) -> None:
    """Note what the store says, before the log that it was made from gives way to another one.

    A store that is not there or cannot be read is nothing to compare with.
    """
    import duckdb

    from flows.plan import LINKED
    from pipelines.base import duck
    from warehouse.digest import table_digests

    if not site.store_path.is_file():
        return
    with suppress(duckdb.Error, KeyFileError), duck.connect() as con:
        duck.attach(con, site.store_path, "store", read_only=True)
        found = table_digests(con, "store")
        linked = con.execute("SELECT value FROM store.ops.state WHERE name = ?", [LINKED])
        if row := linked.fetchone():
            proof.before, proof.inputs_before = found, str(row[0])


def rebuilding(proof: Proof) -> list[Stage[RunContext]]:
    """Return the stages that make a site again from its log; the proof is filled as they run."""
    from flows.plan import LINKED
    from flows.stages import STAGES
    from warehouse.digest import table_digests
    from warehouse.guard import lost_batches
    from warehouse.store import Store

    def empty(context: RunContext, _step: Step) -> StageResult:
        context.is_replay = True
        proof.digest_before = published_digest(context.site)
        with Store(context.site, say=context.console.say) as store:
            known = {one.batch_id for one in context.log.committed()}
            if lost := set(store.batch_ids()) - known:
                raise lost_batches(context.log.root, sorted(lost))
            if not proof.before and not store.rebuilt_because:
                proof.before = table_digests(store.con, "store")
                proof.inputs_before = store.get_state(LINKED)
            store.rebuild()
        context.remark("The site store was rebuilt from the log, as was asked for.")
        return StageResult("empty")

    def compare(context: RunContext, _step: Step) -> StageResult:
        proof.digest_after = published_digest(context.site)
        with Store(context.site, say=context.console.say) as store:
            proof.after = table_digests(store.con, "store")
            proof.n_batches = len(store.batch_ids())
            proof.inputs_after = store.get_state(LINKED)
        differ = f"{plural(len(proof.differ), 'table')} differ"
        return StageResult("compare", note=differ if proof.before else "with nothing")

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


def published_digest(site: Site) -> str | None:
    """Return the digest of what is published; None where there is nothing that can be read."""
    from warehouse.digest import digest

    with suppress(StorageError, LockedError):
        return digest(site.warehouse).value
    return None


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
