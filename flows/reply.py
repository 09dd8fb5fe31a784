"""How a command ends: an exit code, and either a text for people or one JSON object."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from flows.console import TextConsole
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.storage import refused_by_system, storage_error

if TYPE_CHECKING:
    from pipelines.base.site import Site

ROOT = Path(__file__).parents[1]


class InternalError(DripwatchError):
    """A fault in Dripwatch: its type and place are told, its message is not.

    Messages of exceptions quote what was being worked on, and that can be a patient's value.
    """

    exit_code = ExitCode.INTERNAL


class UsageError(DripwatchError):
    """An argument that no command understands."""

    exit_code = ExitCode.USAGE


@dataclass
class Reply:
    """What a command answers; the same fields whether it went well or not.

    Attributes:
        command: the command's name.
        exit_code: the process' exit code.
        message: one sentence.
        result: what the command found or made, JSON-ready; None where it failed before.
        error: what, where, remedy and next_run of the failure; None where there is none.
    """

    command: str
    console: TextConsole
    as_json: bool = False
    exit_code: ExitCode = ExitCode.OK
    message: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, str | None] | None = field(default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the one JSON object that `--json` prints."""
        return {
            "command": self.command,
            "version": version(),
            "ok": self.exit_code == ExitCode.OK,
            "exit_code": int(self.exit_code),
            "exit_name": self.exit_code.name,
            "message": self.message,
            "error": self.error,
            "result": self.result,
        }

    def fail(self, error: DripwatchError) -> None:
        """Take over an error's exit code and texts."""
        self.exit_code = error.exit_code
        self.message = error.what
        self.error = {
            "type": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "remedy": error.remedy,
            "next_run": error.next_run,
        }

    def close(self) -> None:
        """Print what is left to print: the JSON object, or the error as the last lines."""
        if self.as_json:
            sys.stdout.write(json.dumps(self.to_json(), default=str) + "\n")
            sys.stdout.flush()
        if self.error:
            sys.stdout.flush()
            sys.stderr.write(error_text(self.exit_code, self.error) + "\n")


def version() -> str:
    """Return the installed version of Dripwatch."""
    return importlib.metadata.version("dripwatch")


def error_text(code: ExitCode, error: dict[str, str | None]) -> str:
    """Return an error as people read it: what, where, remedy, next run."""
    lines = [f"dripwatch: {error['what']}"]
    names = (("where", "where"), ("remedy", "remedy"), ("next run", "next_run"))
    lines += [f"  {name + ':':<10}{error[key]}" for name, key in names if error[key]]
    lines.append(f"  {'exit:':<10}{int(code)} ({code.name})")
    return "\n".join(lines)


def place_of(error: BaseException) -> str:
    """Return file:line of our innermost frame, then of the library's below it, if any."""
    frames = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if not frames:
        return "(no frame)"
    ours = [item for item in frames if _is_ours(item[0])]
    shown = ours[-1:] + ([] if frames[-1] in ours[-1:] else frames[-1:])
    return ", then ".join(f"{_short(path)}:{line}" for path, line in shown)


def _is_ours(path: Path) -> bool:
    inside = path.is_relative_to(ROOT) and "site-packages" not in path.relative_to(ROOT).parts
    return inside and path.relative_to(ROOT).parts[0] in OUR_PACKAGES


OUR_PACKAGES = ("expectations", "flows", "pipelines", "schemas", "studies", "warehouse")


def _short(path: Path) -> str:
    if _is_ours(path):
        return str(path.relative_to(ROOT))
    return "/".join(path.parts[-3:])


#: Paths of the site at work whose names are ours; any other may be named after a patient.
_OURS: set[Path] = set()
_THEIRS: set[Path] = set()


def may_name(site: Site) -> None:
    """Allow errors to name files of this site that we made and named ourselves."""
    _OURS.update((site.restricted, site.report, site.warehouse))
    _THEIRS.update(site.at(source.path) for source in site.source)


def _shown_path(name: object) -> str:
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if isinstance(name, str) and _within(name, _OURS) and not _within(name, _THEIRS):
        return name
    return "a file whose name is not shown"


def _within(name: str, folders: set[Path]) -> bool:
    return any(Path(name).is_relative_to(folder) for folder in folders)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that led to it; Beam wraps ours into a RuntimeError."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refused(error: Exception) -> tuple[int, object] | None:
    """Return number and file of what the operating system refused, if that is what went wrong.

    Beam and the readers of Avro and Parquet wrap it in errors of their own, some of which only
    quote it.
    """
    for one in chain_of(error):
        number, name = refused_by_system(one), getattr(one, "filename", None)
        # That a file was looked for and not found may have led to this without being it.
        if number is not None and (one is error or number != errno.ENOENT):
            return number, name
    return None


def _ours_alone(name: object) -> Path | None:
    return Path(str(name)) if _shown_path(name) == name else None


def as_ours(error: Exception) -> DripwatchError:
    """Return the error for users that this is or wraps, else one that names type and place."""
    for one in chain_of(error):
        if isinstance(one, DripwatchError):
            return one
    if (refused := _refused(error)) is not None:
        number, name = refused
        shown = _shown_path(name)
        where = f"{shown} ({place_of(error)})"
        return storage_error(number, "working on a file", where, _ours_alone(name))
    return InternalError(
        f"A fault in Dripwatch: {type(error).__module__}.{type(error).__qualname__}.",
        where=place_of(error),
        remedy="Report the lines above; they hold no patient data. "
        "The message of the fault is not shown, because it could.",
        next_run="Starts again from the last committed batch.",
    )


class Terminated(KeyboardInterrupt):
    """SIGTERM, made an exception so that `with` and `finally` blocks do their work."""


def terminate_politely() -> None:
    """Turn SIGTERM into an exception: servers are stopped and locks given back."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)


@contextmanager
def reply(command: str, *, as_json: bool = False) -> Iterator[Reply]:
    """Run a command's body; turn how it ends into an exit code and a text.

    Raises:
        SystemExit: always at the end, with the exit code.
    """
    answer = Reply(command, TextConsole(to_stderr=as_json), as_json)
    try:
        yield answer
    except KeyboardInterrupt:
        answer.exit_code = ExitCode.INTERRUPTED
        answer.message = "Stopped."
        answer.error = {
            "type": "Interrupted",
            "what": "Stopped from the keyboard or by a signal.",
            "where": None,
            "remedy": "Run it again.",
            "next_run": "Continues where this one was.",
        }
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nobody is left to tell.
        sys.stderr.close()
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except Exception as error:  # the outermost place: each becomes an exit code
        answer.fail(as_ours(error))
    answer.close()
    raise SystemExit(int(answer.exit_code))


def usage_as_json(error: Exception) -> None:
    """Tell of a command line that nobody understands, in the shape of every `--json` answer."""
    from flows.console import TextConsole

    message = getattr(error, "format_message", lambda: type(error).__name__)()
    answer = Reply(" ".join(sys.argv[1:2]), TextConsole(to_stderr=True), as_json=True)
    answer.exit_code = ExitCode.USAGE
    answer.message = message
    answer.error = {
        "type": "UsageError",
        "what": message,
        "where": None,
        "remedy": "Read `dripwatch COMMAND --help`.",
        "next_run": None,
    }
    sys.stdout.write(json.dumps(answer.to_json()) + "\n")
    sys.stderr.write(error_text(answer.exit_code, answer.error) + "\n")
