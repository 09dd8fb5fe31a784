"""What a run is made of and what it answers: stages, their counts, and the result of a night."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from flows.console import Step
from pipelines.base.errors import ExitCode

ContextT = TypeVar("ContextT")


@dataclass(frozen=True)
class StageResult:
    """What one stage did.

    Attributes:
        stage: the stage's name.
        rows_in: rows that came in; None where the stage does not handle rows.
        rows_out: rows that went on.
        quarantined: rows set aside because a `reject` check failed.
        held: batches that were not committed because too many of their rows were rejected.
        seconds: wall-clock time.
        note: what there is to say, without patient data.
    """

    stage: str
    rows_in: int | None = None
    rows_out: int | None = None
    quarantined: int | None = None
    held: int | None = None
    seconds: float = 0.0
    note: str = ""

    def timed(self, seconds: float) -> StageResult:
        """Return the same result with its time."""
        return replace(self, seconds=round(seconds, 3))


@dataclass(frozen=True)
class Stage(Generic[ContextT]):
    """One step of the nightly road.

    Attributes:
        name: one word, shown in the table.
        work: does the step; running it twice must end as running it once.
        retries: how often to try again after a fault that passes by itself; 0 where none can.
    """

    name: str
    work: Callable[[ContextT, Step], StageResult]
    retries: int = 0


@dataclass(frozen=True)
class Conductor:
    """Who ran the stages.

    Attributes:
        kind: `prefect_server`, or `in_process` where no server is configured.
        api_url: the server's address; empty in-process.
        flow_run_id: the flow run's id on that server; empty in-process.
    """

    kind: str = "in_process"
    api_url: str = ""
    flow_run_id: str = ""

    def __str__(self) -> str:
        if self.kind == "prefect_server":
            return f"by the Prefect server at {self.api_url} (flow run {self.flow_run_id})"
        return "in-process (no Prefect server is configured)"


@dataclass(frozen=True)
class RunResult:
    """One run of the refresh: a paragraph for people, an object for programs, a row of `ops.run`.

    Attributes:
        run_id: UUID version 7; `run_id` in the warehouse.
        site_id: the site's short name.
        conductor: who ran the stages.
        started_at, ended_at: aware, UTC.
        stages: one result per stage that ran, in order.
        is_changed: whether the published warehouse was replaced.
        is_replay: whether the store was made again from the log.
        n_new_batches: batches committed by this run.
        held: ids of all batches that are held now.
        remarks: what was skipped, rejected, held, stale or provisional, a sentence each.
        versions: versions and hashes that the result depends on.
        synthetic: the patients are invented.
        headline: the numbers that a reader wants first; each a label and a text.
        attrition: of a synthetic site, from records to counted units: study, step, number.
        batches: the deliveries that this run has read; id, source, rows, state and so on.
        changes: what changed in the signals and why: signal_key, label, window, before and now
            (None at a real site), why.
        feeds: how fresh each feed is: source, event_type, declared_through_at, stale_since_at,
            reasons.
    """

    run_id: str
    site_id: str
    conductor: Conductor
    started_at: datetime
    ended_at: datetime
    stages: tuple[StageResult, ...]
    is_changed: bool = False
    is_replay: bool = False
    n_new_batches: int = 0
    held: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    synthetic: bool = False
    headline: tuple[tuple[str, str], ...] = ()
    attrition: tuple[tuple[str, str, int], ...] = ()
    batches: tuple[dict[str, Any], ...] = ()
    changes: tuple[dict[str, Any], ...] = ()
    feeds: tuple[dict[str, Any], ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """Held batches make a run a failure for the scheduler, though the rest is published."""
        return ExitCode.HELD if self.held else ExitCode.OK

    @property
    def seconds(self) -> float:
        """Wall-clock time of the whole run; 0 where the clock was set back meanwhile."""
        return max(0.0, (self.ended_at - self.started_at).total_seconds())

    @property
    def sentence(self) -> str:
        """The run in one sentence."""
        label = "SYNTHETIC: " if self.synthetic else ""
        done = _batches(self.n_new_batches)
        if self.is_replay:
            done = "Rebuilt from the log and published"
        elif not self.n_new_batches and not self.is_changed:
            done = "Nothing new: no new batch, and nothing that the results depend on has changed"
        elif not self.n_new_batches:
            done = "No new batch; linked and published again because something else has changed"
        held = f" {len(self.held)} held." if self.held else ""
        return f"{label}{done}, in {self.seconds:.1f} s, {self.conductor}.{held}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        data = asdict(self)
        data["started_at"] = self.started_at.isoformat()
        data["ended_at"] = self.ended_at.isoformat()
        data["seconds"] = round(self.seconds, 3)
        data["headline"] = [{"label": name, "value": text} for name, text in self.headline]
        names = ("study_id", "step", "n")
        data["attrition"] = [dict(zip(names, row, strict=True)) for row in self.attrition]
        data["sentence"] = self.sentence
        return data

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of stages."""
        return stages_table(self.stages)

    def flow_of_exclusion(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table from records to counted units; rows may be none."""
        rows = [
            [study, f"  {step}" if _is_loss(step) else step, f"{n:,}"]
            for study, step, n in self.attrition
        ]
        return ["study", "from records to units", ">n"], rows

    def changed_signals(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of what changed and why; rows may be none."""
        return changes_table(self.changes)

    def to_markdown(self) -> str:
        """Return the result as a markdown page, without patient data."""
        lines = [f"# Refresh of {self.site_id}", "", self.sentence, "", *as_markdown(self.table())]
        if self.attrition:
            lines += ["", *as_markdown(self.flow_of_exclusion())]
        if self.changes:
            lines += ["", "What changed in the signals, and why:", ""]
            lines += as_markdown(self.changed_signals())
        if self.remarks:
            lines += ["", *(f"- {remark}" for remark in self.remarks)]
        lines += ["", f"Run `{self.run_id}`, {self.started_at:%Y-%m-%d %H:%M} UTC."]
        return "\n".join(lines) + "\n"


def stages_table(stages: Sequence[StageResult]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of stages."""
    header = ["stage", ">in", ">out", ">quarantined", ">held", ">seconds", "note"]
    return header, [_cells(stage) for stage in stages]


def changes_table(changes: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of changes; without numbers where none are told."""
    columns = {"label": "signal", "window": "window", "before": ">before", "now": ">now"}
    if not any(one["now"] for one in changes):
        del columns["before"], columns["now"]
    columns["why"] = "why"
    return [*columns.values()], [[str(one[name]) for name in columns] for one in changes]


def _is_loss(step: str) -> bool:
    return step.startswith(("left out", "merged", "restart", "joined"))


def as_markdown(table: tuple[list[str], list[list[str]]]) -> list[str]:
    """Return the lines of a table (header and rows) in Markdown; `>` in a header is for numbers."""
    header, rows = table
    names = [name.removeprefix(">") for name in header]
    align = ["---:" if name.startswith(">") else "---" for name in header]
    return ["| " + " | ".join(cells) + " |" for cells in [names, align, *rows]]


def _batches(count: int) -> str:
    return f"{count} new {'batch' if count == 1 else 'batches'} committed, linked and published"


def _cells(stage: StageResult) -> list[str]:
    numbers = (stage.rows_in, stage.rows_out, stage.quarantined, stage.held)
    counts = ["" if number is None else f"{number:,}" for number in numbers]
    return [stage.stage, *counts, f"{stage.seconds:.1f}", stage.note]
