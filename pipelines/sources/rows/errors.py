"""Mistakes in a mapping, each with its line, cause and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.base.errors import ConfigError
from pipelines.base.tomlcheck import Path_, line_of


class MappingError(ConfigError):
    """A mapping does not say how its files become events."""


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a mapping: the key it is at, what is wrong, and how to mend it."""

    at: tuple[str | int, ...]
    cause: str
    remedy: str


def mapping_error(mistakes: Sequence[Mistake], lines: dict[Path_, int], path: Path) -> MappingError:
    """Return one error that tells every mistake as `file:line: key: cause Remedy`."""
    told = [
        f"  {path.name}:{line_of(lines, m.at) or '?'}: {_key(m.at)}: {m.cause} {m.remedy}"
        for m in mistakes
    ]
    count = "one mistake" if len(told) == 1 else f"{len(told)} mistakes"
    return MappingError(
        f"The mapping has {count}:\n" + "\n".join(told),
        where=str(path),
        remedy="Mend the lines above; docs/reference/mapping lists every key.",
        next_run="Stops here again; nothing was read.",
    )


def _key(at: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in at) or "mapping"


def closest(name: str, known: Iterable[str]) -> str:
    """Return a remedy that names what the user may have meant."""
    names = sorted(known)
    folded = {other.casefold(): other for other in reversed(names)}
    matches = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    if matches:
        return f"Did you mean {' or '.join(folded[match] for match in matches)}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"There are: {shown}."
