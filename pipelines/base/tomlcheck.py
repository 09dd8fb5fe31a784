"""Reading TOML into a typed model, with errors that name line, cause and remedy."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.base.errors import ConfigError
from pipelines.base.text import read_text

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

#: A dotted key of that many parts takes tomllib minutes.
_TOO_DEEP = re.compile(r"(?:\.[ \t]{0,9}[\w\"'-]{1,99}[ \t]{0,9}){100}")
MAX_DEPTH = 50
#: How pydantic begins: `Input should be a valid number`.
_JARGON = re.compile(r"^(?:Input|String|List|Tuple|Dictionary|Value) should ")

Path_ = tuple[str | int, ...]


class Checked(BaseModel):
    """A table of a configuration file: unknown keys and `nan` are errors, and it stays as read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
        ConfigError: the file is absent, unreadable, not UTF-8, not TOML or nested without reason.
    """
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    if _TOO_DEEP.search(text):
        raise _no_toml(path, "keys are nested too deep")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(path, str(error)) from None
    except RecursionError:
        raise _no_toml(path, "values are nested too deep") from None
    except ValueError:  # a number of thousands of digits
        raise _no_toml(path, "a number is too long") from None
    if _depth(data) > MAX_DEPTH:
        raise _no_toml(path, "values are nested too deep")
    return data, text


def _no_toml(path: Path, cause: str) -> ConfigError:
    return ConfigError(
        f"This is not TOML that a configuration can be read from: {cause}.",
        where=str(path),
        remedy="Mend the named line." if "line" in cause else "Take it out.",
    )


def _depth(data: Any) -> int:  # noqa: ANN401 - parsed TOML
    """Return how deep tables and arrays are nested; by level, since a recursion could not."""
    depth, level = 0, [data]
    while level:
        depth += 1
        inside = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [one for many in inside for one in many if isinstance(one, dict | list)]
    return depth


class Mistake(NamedTuple):
    """A wrong place of a TOML file: its key path, and what is wrong there."""

    path: Path_
    cause: str

    def told(self, lines: dict[Path_, int], file: Path) -> str:
        """Return the mistake as `file:line: key: cause`."""
        key = key_text(self.path) or "the file"
        return f"{file.name}:{line_of(lines, self.path) or '?'}: {key}: {self.cause}"


def key_text(path: Path_) -> str:
    """Return a key path as people count: `drug #2.concept` is in the second table of drugs."""
    parts = [f" #{part + 1}" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).strip(". ")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` where a known word is close, else an empty text."""
    close = get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


def parse_model(model: type[ModelT], data: dict[str, Any], text: str, path: Path) -> ModelT:
    """Validate a parsed TOML file against its model.

    Errors:
        ConfigError: with every mistake on its own line as `file:line: key: cause`.
    """
    found = try_model(model, data)
    if not isinstance(found, list):
        return found
    lines = line_index(text)
    more = "" if len(found) == 1 else f" ({len(found)} mistakes)"
    raise ConfigError(
        f"The configuration is wrong{more}:\n"
        + "\n".join(f"  {one.told(lines, path)}" for one in found),
        where=str(path),
        remedy="Mend the lines above; the reference in docs/reference lists every key.",
    )


def read_settings(model: type[ModelT], path: Path, name: str) -> ModelT:
    """Read and check a settings file; a folder means the file of that name in it.

    The model has `config_path`, which is set here and never read from the file.

    Errors:
        ConfigError: naming each wrong line, its cause and its remedy.
    """
    file = path / name if path.is_dir() else path
    data, text = read_toml(file)
    if "config_path" in data:
        raise ConfigError(
            "config_path is not a setting.", where=str(file), remedy="Delete that line."
        )
    return parse_model(model, data, text, file).model_copy(update={"config_path": file.absolute()})


def try_model(model: type[ModelT], data: dict[str, Any]) -> ModelT | list[Mistake]:
    """Return the model of a parsed TOML file, or every mistake in it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        return [_explain(issue, data, model) for issue in error.errors()]


def _explain(
    issue: Any,  # noqa: ANN401 - pydantic's ErrorDetails
    data: dict[str, Any],
    model: type[BaseModel],
) -> Mistake:
    told = tuple(part for part in issue["loc"] if part != "__root__")
    cause = _JARGON.sub("must ", issue["msg"].removeprefix("Value error, "))
    if issue["type"] == "value_error" and _is_kind(told, data):
        told = told[:-1]
    if issue["type"] == "extra_forbidden":
        meant = did_you_mean(str(told[-1]), _keys_at(model, told[:-1]))
        cause = f"unknown key{meant or '; check its spelling'}"
    if issue["type"] == "missing":
        cause = "required, but not given"
    if issue["type"] == "union_tag_invalid":
        kinds = [one.strip(" '") for one in issue["ctx"]["expected_tags"].split(",")]
        given = str(issue["ctx"]["tag"])
        told = (*told, issue["ctx"]["discriminator"].strip("'"))
        cause = f"there is no {told[-1]} `{given}`"
        cause += did_you_mean(given, kinds) or f"; known are {', '.join(kinds)}"
    return Mistake(_as_written(told, data), cause)


def _is_kind(told: Path_, data: Any) -> bool:  # noqa: ANN401 - parsed TOML
    """Tell whether a location ends with the kind of the table itself, which is no key of it."""
    for part in told[:-1]:
        data = data.get(part, {}) if isinstance(data, dict) else data[part]
    return isinstance(data, dict) and bool(told) and data.get("kind") == told[-1]


def _as_written(told: Path_, data: Any) -> Path_:  # noqa: ANN401 - parsed TOML
    """Return a location without what pydantic adds to it: the kinds of tagged tables."""
    path: list[str | int] = []
    for place, part in enumerate(told):
        is_last = place == len(told) - 1
        if isinstance(data, dict) and part not in data and not is_last:
            continue
        path.append(part)
        inside = isinstance(data, dict) or (isinstance(data, list) and isinstance(part, int))
        data = (data.get(part) if isinstance(data, dict) else data[part]) if inside else None
    return tuple(path)


def _keys_at(model: type[BaseModel], told: Path_) -> set[str]:
    """Return the keys that a table at a location may have."""
    models = [model]
    for part in told:
        if isinstance(part, int):
            continue
        inner = [
            one
            for outer in models
            for key, info in outer.model_fields.items()
            if part in (key, info.alias)
            for one in models_of(info.annotation)
        ]
        models = inner or [one for one in models if _is_tagged(one, part)]
    return {info.alias or key for one in models for key, info in one.model_fields.items()}


def _is_tagged(model: type[BaseModel], tag: str) -> bool:
    return any(tag in get_args(info.annotation) for info in model.model_fields.values())


def models_of(kind: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - any annotation
    """Return the models that an annotation names, those in lists and unions too."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for one in get_args(kind) for model in models_of(one)]
