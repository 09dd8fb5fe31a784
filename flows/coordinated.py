"""The flow of a coordinator's deployment: a round each time that the schedule says.

It waits by coming again: nothing is held between two runs, so a server or a worker that is started
anew loses nothing. Import this module only where Prefect is at work: it takes seconds to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.console import TextConsole
from flows.coordinate import run_round, show
from flows.deployed import end_state
from flows.reply import as_ours, error_text
from pipelines.pooling.coordinator import load_coordinator


@flow(
    name="coordinate",
    description="Wait for a quarter's packs, say who is late, pool what is there.",
    validate_parameters=False,
    persist_result=False,
)
def coordinate(config: str) -> State[Any]:
    """Run a round and end as the command line would; `Waiting` where packs may still come in time.

    Args:
        config: absolute path of coordinator.toml.
    """
    console = TextConsole()
    try:
        found = run_round(load_coordinator(Path(config)))
    except Exception as error:  # each becomes an exit code; a traceback could quote a file
        ours = as_ours(error)
        told = {"what": ours.what, "where": ours.where, "remedy": ours.remedy}
        console.say(error_text(ours.exit_code, {**told, "next_run": ours.next_run}))
        return end_state(ours.exit_code)
    show(found, console)
    if found.done == "waiting" and not found.exit_code:
        return Completed(name="Waiting", message=found.message)
    return end_state(found.exit_code)
