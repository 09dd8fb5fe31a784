"""Running a list of stages: the one place that knows retries, times and safe errors.

The Prefect flow calls the same `run_stage` from its tasks, so that with and without a server the
same code runs in the same order.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Sequence
from typing import Protocol, TypeVar

from flows.console import Console
from flows.quiet import hush_libraries
from flows.reply import as_ours, chain_of
from flows.run import Stage, StageResult
from pipelines.base.errors import DripwatchError, PassingStorageError

DELAY_SECONDS = 2.0


class HasConsole(Protocol):
    """Whatever a stage works on can speak."""

    @property
    def console(self) -> Console:
        """Where the run speaks."""


ContextT = TypeVar("ContextT", bound=HasConsole)


def safe_error(error: Exception) -> DripwatchError:
    """Return an error that may be shown and logged: it quotes nothing that was worked on."""
    ours = as_ours(error)
    # DuckDB has no class of its own for "another process holds the file".
    is_locked = type(error).__name__ == "IOException" and "lock on file" in str(error)
    if is_locked:
        return PassingStorageError(
            "Another process has a database of this site open for writing.",
            where=ours.where,
            remedy="Close it: nobody but a refresh should open files of the restricted folder.",
            next_run="Continues from the last committed batch.",
        )
    return ours


def _let_go(error: BaseException) -> None:
    """Drop what the frames of a failure hold: rows of patients, and open databases.

    DuckDB waits, without an end, for a file's last connection to close before it opens a new file
    of that name: the next attempt in this process would hang.
    """
    for one in chain_of(error):
        traceback.clear_frames(one.__traceback__)
    gc.collect()


def may_retry(error: BaseException | None) -> bool:
    """Tell whether trying again can help: only where the fault passes by itself."""
    return isinstance(error, PassingStorageError)


def run_stage(stage: Stage[ContextT], context: ContextT) -> StageResult:
    """Run one stage once.

    Errors:
        DripwatchError: whatever went wrong, as an error that holds no patient data.
    """
    began = time.monotonic()
    hush_libraries()  # again for each stage: some set their levels on import
    try:
        with context.console.step(stage.name) as step:
            result = stage.work(context, step)
    except Exception as error:  # made safe: libraries quote values
        safe = safe_error(error)
        _let_go(error)
        raise safe from None
    return result.timed(time.monotonic() - began)


def run_in_process(
    stages: Sequence[Stage[ContextT]], context: ContextT, delay_seconds: float = DELAY_SECONDS
) -> list[StageResult]:
    """Run the stages one after the other, without Prefect."""
    return [_with_retries(stage, context, delay_seconds) for stage in stages]


def _with_retries(stage: Stage[ContextT], context: ContextT, delay_seconds: float) -> StageResult:
    for left in range(stage.retries, -1, -1):
        try:
            return run_stage(stage, context)
        except DripwatchError as error:
            if not left or not may_retry(error):
                raise
            context.console.say(f"{stage.name}: {error.what} Trying again.")
            time.sleep(delay_seconds)
    raise AssertionError  # pragma: no cover - the loop returns or raises
