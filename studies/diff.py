"""What differs between two definitions of a study: settings, windows, codes, limits, published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from studies.limit_tables import tables_used
from studies.load import Study

Kind = Literal["added", "removed", "changed", "moved"]
Row = Mapping[str, str]

#: What tells one table of an array from the next, by the key that all of them have.
_NAMES = ("name", "type", "label")
#: The same for what is watched, of which no one key is its own.
_PAIR = ("outcome", "window", "drug_class", "drug")
_CODE_KEY = ("concept", "event_type", "code_system", "code", "match")


@dataclass(frozen=True)
class Change:
    """A setting that differs, defaults included.

    Attributes:
        path: its place, with names for places in arrays: `outcome.fever.window.risk.end_anchor`.
        kind: `moved` is another order where the order decides, such as that of indications.
        old, new: JSON-ready values; None where there is none.
    """

    path: str
    kind: Kind
    old: Any = None
    new: Any = None

    @property
    def is_window(self) -> bool:
        """Whether it is about a window."""
        return ".window" in self.path


@dataclass(frozen=True)
class RowChange:
    """Rows of a table or code list that only one of the two has.

    Attributes:
        table: name of the table; `codelists` for codes.
        added, removed: whole rows.
    """

    table: str
    added: tuple[Row, ...]
    removed: tuple[Row, ...]


@dataclass(frozen=True)
class StudyDiff:
    """Everything that differs.

    Attributes:
        settings: all but windows.
        windows: of every outcome.
        codes: codes that mean a concept in one of them alone.
        n_relabelled: codes that both have, with another label or source.
        limits: tables in use that differ.
        published: rows of published.csv.
    """

    settings: tuple[Change, ...]
    windows: tuple[Change, ...]
    codes: RowChange
    n_relabelled: int
    limits: tuple[RowChange, ...]
    published: RowChange = RowChange("published", (), ())

    @property
    def is_empty(self) -> bool:
        """Whether the two say the same."""
        rows = (self.codes, *self.limits, self.published)
        parts = (self.settings, self.windows, self.n_relabelled)
        return not any(parts) and not any(one.added or one.removed for one in rows)

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON-ready values."""
        return asdict(self)


def diff_studies(old: Study, new: Study) -> StudyDiff:
    """Return what differs between two studies, whatever they are called."""
    settings = list(
        _changes("", old.model.model_dump(mode="json"), new.model.model_dump(mode="json"))
    )
    used = [{one.table for one in tables_used(study.model)} for study in (old, new)]
    limits = (
        _row_change(name, _limits(old, name), _limits(new, name))
        for name in sorted(used[0] | used[1])
    )
    both = {_code_key(row) for row in old.codelist} & {_code_key(row) for row in new.codelist}
    told = {_code_key(row): row for row in new.codelist}
    return StudyDiff(
        settings=tuple(one for one in settings if not one.is_window),
        windows=tuple(one for one in settings if one.is_window),
        codes=RowChange(
            "codelists",
            tuple(row for row in new.codelist if _code_key(row) not in both),
            tuple(row for row in old.codelist if _code_key(row) not in both),
        ),
        n_relabelled=sum(_code_key(row) in both and row != told[_code_key(row)]
                         for row in old.codelist),
        limits=tuple(one for one in limits if one.added or one.removed),
        published=_row_change("published", old.published, new.published),
    )  # fmt: skip


def _limits(study: Study, name: str) -> Sequence[Row]:
    """Return the rows of a table; none where the study does not use it."""
    if name not in {one.table for one in tables_used(study.model)}:
        return ()
    return study.limits.get(name, ())


def _code_key(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in _CODE_KEY)


def _row_change(table: str, old: Sequence[Row], new: Sequence[Row]) -> RowChange:
    return RowChange(
        table,
        tuple(row for row in new if row not in old),
        tuple(row for row in old if row not in new),
    )


def _changes(path: str, old: Any, new: Any) -> Iterator[Change]:  # noqa: ANN401 - JSON values
    """Yield what differs between two values, from the outermost place at which it does."""
    if old == new:
        return
    before, after = _named(old), _named(new)
    if before is None or after is None:
        yield Change(path, "changed", old, new)
        return
    for name in dict.fromkeys((*before, *after)):
        place = f"{path}.{name}".removeprefix(".")
        if name not in after:
            yield Change(place, "removed", before[name], None)
        elif name not in before:
            yield Change(place, "added", None, after[name])
        else:
            yield from _changes(place, before[name], after[name])
    order = [[name for name in one if name in before and name in after] for one in (before, after)]
    if isinstance(old, list) and order[0] != order[1]:
        yield Change(path, "moved", order[0], order[1])


def _named(value: Any) -> Mapping[str, Any] | None:  # noqa: ANN401 - a JSON value
    """Return the parts of a table, or of an array of tables by their names; None of all else."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return None
    for keys in (*((key,) for key in _NAMES), _PAIR):
        names = ["/".join(str(one[key]) for key in keys if one.get(key)) for one in value]
        if "" not in names and len(set(names)) == len(names):
            return dict(zip(names, value, strict=True))
    return None
