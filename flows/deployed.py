"""The flow of the deployment: what a Prefect worker runs by event, by schedule or by hand.

Import this module only where Prefect is at work: it takes seconds to import.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.console import TextConsole
from flows.refresh import refresh as run
from flows.refresh import show_result
from flows.reply import as_ours, error_text
from flows.run import RunResult
from pipelines.base.errors import EXIT_MEANING, ExitCode, LockedError
from pipelines.base.site import load_site

#: How long a run that found another one at work tries again: an arrival must not be lost to it.
WAIT_SECONDS = 3600.0
TRY_EVERY_SECONDS = 20.0


@flow(
    name="refresh",
    description="Bring one site's warehouse up to date with everything delivered.",
    validate_parameters=False,
    persist_result=False,
)
def refresh(config: str) -> State[Any]:
    """Refresh one site and end as the command line would: only exit code 0 is a success.

    The server learns the exit code and its meaning, not the message: what went wrong stands in the
    worker's output and in the site's journal.

    Args:
        config: absolute path of the site's site.toml.
    """
    console = TextConsole()
    try:
        result = _patiently(Path(config))
    except Exception as error:  # each becomes an exit code; a traceback could quote a patient
        ours = as_ours(error)
        told = {"what": ours.what, "where": ours.where, "remedy": ours.remedy}
        console.say(error_text(ours.exit_code, {**told, "next_run": ours.next_run}))
        return end_state(ours.exit_code)
    show_result(result, console)
    return end_state(result.exit_code)


def _patiently(config: Path) -> RunResult:
    """Run; while somebody else is at work on the site, wait.

    Errors:
        DripwatchError: as of any run; a LockedError after an hour.
    """
    gives_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return run(load_site(config), console=TextConsole())
        except LockedError:
            if time.monotonic() >= gives_up_at:
                raise
        time.sleep(TRY_EVERY_SECONDS)


def end_state(code: ExitCode) -> State[Any]:
    """Return the flow run's state for an exit code, named after it."""
    what, remedy = EXIT_MEANING[code]
    if code == ExitCode.OK:
        return Completed(message=what)
    name = code.name.capitalize()
    return Failed(name=name, message=f"Exit code {int(code)} ({code.name}). {what} {remedy}")
