"""Reading TOML into a typed model, with errors that name line, cause and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.base.errors import ConfigError

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Path_ = tuple[str | int, ...]


class Checked(BaseModel):
    """A table of a configuration file: unknown keys are errors, values don't change after load."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def line_index(text: str) -> dict[Path_, int]:
    """Map each TOML key path, e.g. `("source", 0, "name")`, to its 1-based line.

    Inline tables share the line of their key; a key inside a multi-line value resolves to the
    value's first line. tomllib keeps no positions, and a wrong line would mislead, so only
    headers and keys at the start of a line count.
    """
    lines: dict[Path_, int] = {}
    counts: dict[Path_, int] = {}
    prefix: Path_ = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            prefix = _enter(header, counts)
            lines.setdefault(prefix, number)
        elif key := _KEY.match(line):
            lines.setdefault(prefix + _parts(key.group(1)), number)
    return lines


def _parts(dotted: str) -> Path_:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _enter(header: re.Match[str], counts: dict[Path_, int]) -> Path_:
    path: Path_ = ()
    names = _parts(header.group(2))
    for depth, name in enumerate(names):
        path = (*path, name)
        is_last = depth == len(names) - 1
        if header.group(1) == "[[" and is_last:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def line_of(lines: dict[Path_, int], path: Sequence[str | int]) -> int | None:
    """Return the line of the longest known prefix of a key path, None if nothing is known."""
    for size in range(len(path), 0, -1):
        if (line := lines.get(tuple(path[:size]))) is not None:
            return line
    return None


def read_toml(path: Path) -> tuple[dict[str, Any], str]:
    """Return the parsed TOML and its text.

    Errors:
        ConfigError: the file is absent, unreadable, not UTF-8 or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except FileNotFoundError:
        raise ConfigError(
            "The file does not exist.", where=str(path), remedy="Check the path."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"The file cannot be read: {error.strerror}.",
            where=str(path),
            remedy="Check its permissions.",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            "The file is not UTF-8.", where=str(path), remedy="Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"This is not TOML: {error}.", where=str(path), remedy="Mend the named line."
        ) from None


def parse_model(model: type[ModelT], data: dict[str, Any], text: str, path: Path) -> ModelT:
    """Validate a parsed TOML file against its model.

    Errors:
        ConfigError: with every mistake on its own line as `file:line: key: cause`.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = line_index(text)
        found = [_explain(issue, lines, path, model) for issue in error.errors()]
        more = "" if len(found) == 1 else f" ({len(found)} mistakes)"
        raise ConfigError(
            f"The configuration is wrong{more}:\n" + "\n".join(f"  {line}" for line in found),
            where=str(path),
            remedy="Mend the lines above; the reference in docs/reference lists every key.",
        ) from None


def _explain(
    issue: Any,  # noqa: ANN401 - pydantic's ErrorDetails
    lines: dict[Path_, int],
    path: Path,
    model: type[BaseModel],
) -> str:
    location = tuple(part for part in issue["loc"] if part != "__root__")
    line = line_of(lines, location)
    key = ".".join(str(part) for part in location) or model.__name__
    cause = issue["msg"].removeprefix("Value error, ")
    if issue["type"] == "extra_forbidden":
        cause = "unknown key; check its spelling"
    if issue["type"] == "missing":
        cause = "required, but not given"
    return f"{path.name}:{line or '?'}: {key}: {cause}"
