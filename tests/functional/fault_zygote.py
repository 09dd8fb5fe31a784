"""A process that has imported everything and forks a child for each run: a run costs no imports.

It reads orders, a JSON object a line, and answers with the child's pid and then with how it ended.
It starts no thread and opens no database, so that its children are as new ones.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAVY = (
    "apache_beam.runners.portability.fn_api_runner",
    "polars",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "expectations.validate",
    "flows.forget",
    "flows.announce",
    "flows.conduct",
    "flows.stages",
    "pipelines.linkage.transform",
    "pipelines.sources.flat",
    "tests.functional.refresh_site",
    "warehouse.publish",
)


def main() -> None:
    """Fork a child for each order until there is no more."""
    for name in HEAVY:
        importlib.import_module(name)
    print("ready", flush=True)  # noqa: T201 - the answer is on standard output
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os._exit(child(json.loads(line)))
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def child(order: dict[str, Any]) -> int:
    """Run a refresh, or forget a patient, under a fault.

    How it ended is written to a file; the exit code is returned.
    """
    from flows import conduct
    from flows.reply import as_ours
    from pipelines.base.site import load_site
    from tests.functional.refresh_site import run

    root = Path(order["root"])
    os.dup2(os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.dup2(1, 2)
    conduct.run_in_process.__defaults__ = (0.0,)  # a fault that passes has passed at once
    announce_batches(root)
    for name, value in order.get("arm", {}).items():
        arm(name, value)
    if boundary := order.get("boundary"):
        die_at(*boundary)
    if order.get("clock"):
        set_back(order["clock"])
    told: dict[str, Any] = {"exit": 0, "what": "", "remarks": []}
    try:
        if patient := order.get("forget"):
            told |= {"result": forgotten(root, patient)}
        else:
            result = run(load_site(root))
            told |= {"exit": int(result.exit_code), "remarks": list(result.remarks)}
    except Exception as error:  # as the command line does
        ours = as_ours(error)
        told |= {"exit": int(ours.exit_code), "what": str(ours), "type": type(error).__name__}
    disarm()
    Path(order["answer"]).write_text(json.dumps(told))
    return int(told["exit"])


def forgotten(root: Path, patient: str) -> dict[str, Any] | None:
    """Forget a patient as the command does, but for the report's page; return what it found."""
    from flows.console import TextConsole
    from flows.forget import forget_command
    from flows.reply import Reply
    from tests.functional.refresh_site import without_page

    answer = Reply("forget", TextConsole())
    with without_page():
        forget_command(root, answer, patient=patient, namespace="")
    return answer.result


def arm(name: str, value: list[Any]) -> None:
    """Ask the layer to trace calls or to let some fail."""
    layer = ctypes.CDLL(None)
    if name == "trace":
        below, file = value
        layer.fault_trace(below.encode(), file.encode())
    else:
        below, call, first, times, number = value
        layer.fault_arm(
            below.encode(), call.encode(), ctypes.c_long(first), ctypes.c_long(times), number
        )


def disarm() -> None:
    """Let everything succeed again; harmless where there is no layer."""
    layer = ctypes.CDLL(None)
    if hasattr(layer, "fault_arm"):
        layer.fault_arm(b"", b"", ctypes.c_long(0), ctypes.c_long(0), 0)


def die_at(name: str, when: str, call: int) -> None:
    """Kill this process before or after so many calls of a function of ours.

    Args:
        name: dotted, as in `pipelines.ingest.log.EventLog.commit`.
        when: before or after.
        call: 1 for its first call.
    """
    owner, attribute = found(name)
    original: Callable[..., Any] = getattr(owner, attribute)
    calls = iter(range(1, call))

    def killed(*arguments: Any, **options: Any) -> Any:
        is_last = next(calls, None) is None
        if is_last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*arguments, **options)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, attribute, killed)


def found(name: str) -> tuple[Any, str]:
    """Return the module or class that holds a function, and the function's name in it.

    Errors:
        ImportError, AttributeError: there is none of that name.
    """
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:-1]:
            owner = getattr(owner, part)
        getattr(owner, parts[-1])
        return owner, parts[-1]
    raise ImportError(name)


def set_back(to: str) -> None:
    """Set the clock of Python to an instant, and a day further back at the first commit."""
    import time_machine

    from pipelines.ingest.log import EventLog

    clock = time_machine.travel(to).start()
    original = EventLog.commit

    def commit(self: EventLog, batch_id: str) -> bool:
        clock.shift(-86_400)
        return original(self, batch_id)

    EventLog.commit = commit  # type: ignore[method-assign] # the test's own


def announce_batches(root: Path) -> None:
    """Put a message into the outbox for each batch, in the transaction that applies it.

    Its receiver notes the key in a file beside the site, which is what it acknowledges.
    """
    import flows.channels
    from warehouse import intake
    from warehouse.outbox import Message, put

    original = intake.apply_batch

    def apply_batch(con: Any, batch: Any, run_id: str | None) -> Any:
        applied = original(con, batch, run_id)
        put(con, [Message(batch.batch_id, "north", "kit", "A batch", "", run_id or "")])
        return applied

    def receive(message: Message) -> None:
        with (root / "received.txt").open("a") as stream:
            stream.write(message.key + "\n")

    intake.apply_batch = apply_batch
    known = flows.channels.channels_of
    flows.channels.channels_of = lambda site: {**known(site), "kit": receive}


if __name__ == "__main__":
    main()
