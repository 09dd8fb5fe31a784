"""The Prefect flow: one task per stage, around the functions that also run without Prefect.

Import this module only where a server is configured: Prefect takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from prefect import Task, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

from flows.conduct import DELAY_SECONDS, HasConsole, may_retry, run_stage
from flows.run import Conductor, Stage, StageResult
from pipelines.base.errors import DripwatchError

Outcome = tuple[list[StageResult], Conductor]
ContextT = TypeVar("ContextT", bound=HasConsole)

#: Prefect shows the parameters of a flow, so it gets none: the work is handed over here.
_WORK: ContextVar[Callable[[], Outcome]] = ContextVar("dripwatch_work")


@flow(
    name="refresh",
    description="Bring one site's warehouse up to date with everything delivered.",
    validate_parameters=False,
    persist_result=False,
)
def refresh() -> Outcome:
    """Run what `conduct` handed over; the tasks inside it are the stages."""
    return _WORK.get()()


def conduct(
    stages: Sequence[Stage[ContextT]],
    context: ContextT,
    api_url: str,
    finish: Callable[[list[StageResult], Conductor], tuple[str, str]],
) -> Outcome:
    """Run the stages as tasks of one flow run.

    Args:
        stages: what to run, in order.
        context: what they work on; it stays in this process and is never serialised.
        api_url: address of a server that answers.
        finish: makes the summary (artifact key, markdown) from the results.

    Errors:
        DripwatchError: the first stage that failed, after its retries.
    """
    failed: list[DripwatchError] = []

    def work() -> Outcome:
        conductor = Conductor("prefect_server", api_url, str(flow_run.get_id()))
        results = [_as_task(stage, context, failed)() for stage in stages]
        key, page = finish(results, conductor)
        create_markdown_artifact(key=key, markdown=page, description="Summary of the run")
        return results, conductor

    settings = {
        PREFECT_API_URL: api_url,
        # The heartbeat thread adds a second to each run; a night's run is short.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    token = _WORK.set(work)
    outcome = None
    try:
        with temporary_settings(settings):
            # A deployment has begun a flow run already; a second one inside would say it twice.
            outcome = work() if flow_run.get_id() else refresh()
    except StageFailedError:
        if not failed:
            raise
    finally:
        _WORK.reset(token)
    if outcome is None:
        raise failed[-1]
    return outcome


class StageFailedError(Exception):
    """What Prefect learns of a failure: it keeps, and writes to disk, whatever a task raises."""

    def __init__(self) -> None:
        super().__init__("A stage failed; the command that ran it says why.")


def _as_task(
    stage: Stage[ContextT], context: ContextT, failed: list[DripwatchError]
) -> Callable[[], StageResult]:
    """Return a task of a stage; what goes wrong is added to `failed`, which stays in here."""

    def can_retry(_task: Task[..., Any], _run: TaskRun, _state: State[Any]) -> bool:
        return bool(failed) and may_retry(failed[-1])

    @task(
        name=stage.name,
        task_run_name=stage.name,
        retries=stage.retries,
        retry_delay_seconds=DELAY_SECONDS,
        retry_condition_fn=can_retry,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def work() -> StageResult:
        try:
            return run_stage(stage, context)
        except DripwatchError as error:
            failed.append(error)
        raise StageFailedError  # outside of `except`: it must not carry the other one along

    return work
