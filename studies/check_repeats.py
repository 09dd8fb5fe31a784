"""What a study says twice under one name: results of the two would be added up or told twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipelines.base.tomlcheck import Mistake, Path_

if TYPE_CHECKING:
    from studies.model import StudyModel


def repeated_names(model: StudyModel) -> Iterator[Mistake]:
    """Yield outcomes, drugs, groups, bands of age and strata that are named like an earlier one."""
    seen: set[str] = set()
    for place, one in enumerate(model.outcome):
        if one.name in seen:
            yield Mistake(
                ("outcome", place, "name"),
                f"two outcomes are called {one.name!r}; rename one of them",
            )
        seen.add(one.name)
    yield from _repeated("drugs", _places(("drug",), "name", (one.name for one in model.drug)))
    yield from _repeated(
        "groups", _places(("indication",), "type", (one.type for one in model.indication))
    )
    bands = (one.label for one in model.strata.age_band)
    yield from _repeated("bands of age", _places(("strata", "age_band"), "label", bands))
    yield from _strata(model)


def _places(table: Path_, key: str, names: Iterable[str]) -> Iterator[tuple[Path_, str]]:
    for place, name in enumerate(names):
        yield (*table, place, key), name


def _repeated(what: str, named: Iterable[tuple[Path_, str]]) -> Iterator[Mistake]:
    """Names that people take for one are one: spaces and capitals make no difference."""
    seen: set[str] = set()
    for path, name in named:
        plain = " ".join(name.split()).casefold()
        if plain in seen:
            yield Mistake(
                path, f"two {what} are called {name!r}, and would be counted as one; rename one"
            )
        seen.add(plain)


def _strata(model: StudyModel) -> Iterator[Mistake]:
    by = model.strata.by
    for name in dict.fromkeys(one for one in by if by.count(one) > 1):
        yield Mistake(("strata", "by"), f"names {name!r} twice; once is enough")
    seen: set[frozenset[str]] = set()
    for first, second in model.strata.two_way:
        pair = frozenset((first, second))
        if len(pair) == 1:
            yield Mistake(("strata", "two_way"), f"crosses {first!r} with itself; take it out")
        elif pair in seen:
            yield Mistake(
                ("strata", "two_way"),
                f"crosses {first!r} and {second!r} twice; one order is enough",
            )
        seen.add(pair)
