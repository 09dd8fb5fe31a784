"""Reading a mapping file, whole and checked, before any delivery is touched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.base.errors import ConfigError
from pipelines.base.tomlcheck import Path_, line_index, parse_model, read_toml
from pipelines.sources.flat.check import check_mapping
from pipelines.sources.flat.model import FileRule, MappingTable
from pipelines.sources.rows.check_rule import used_columns
from pipelines.sources.rows.errors import MappingError, Mistake, mapping_error


@dataclass(frozen=True)
class Mapping:
    """A checked mapping.

    Attributes:
        path: its file.
        table: what it says.
        lines: line of each key, for messages.
    """

    path: Path
    table: MappingTable
    lines: dict[Path_, int] = field(repr=False)

    def content_hash(self, site_zone: str) -> str:
        """Return the SHA-256 of all that it decides; comments and order of keys don't count."""
        told = self.table.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps({"mapping": told, "site_zone": site_zone}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The kinds of patient identifier that it makes keys of patients from, sorted."""
        patients = [file.patient for file in self.table.file]
        told = {rule.namespace or self.table.namespace for rule in patients if rule is not None}
        return tuple(sorted(told))

    @property
    def event_types(self) -> tuple[str, ...]:
        """The event types that its files can tell."""
        return tuple(dict.fromkeys(t for file in self.table.file for t in file.event_types))

    def file(self, role: str) -> FileRule:
        """Return the [[file]] of that name.

        Errors:
            KeyError: there is none.
        """
        return next((f for f in self.table.file if f.name == role), None) or _no_role(role)

    def check_header(self, role: str, header: list[str]) -> None:
        """Check that a delivered file has each column that is mapped, and has it once.

        Errors:
            MappingError: naming the line of each column that is not there.
        """
        rule = self.file(role)
        number = self.table.file.index(rule)
        mistakes = []
        for name, at in dict(used_columns(rule, ("file", number))).items():
            if header.count(name) != 1:
                mistakes.append(_not_there(at, role, name, header))
        if mistakes:
            raise mapping_error(mistakes, self.lines, self.path)

    def check_delivery_column(
        self, role: str, column: str, key: tuple[str, ...], header: list[str]
    ) -> None:
        """Check that a delivered file has the column that tells a time of the delivery.

        Errors:
            MappingError: naming the line.
        """
        if header.count(column) != 1:
            mistake = _not_there(("delivery", *key), role, column, header)
            raise mapping_error([mistake], self.lines, self.path)


def _not_there(at: tuple[str | int, ...], role: str, column: str, header: list[str]) -> Mistake:
    """Tell of a column; the delivered names are never told: without a header they are a patient."""
    if n := header.count(column):
        cause = f"{n} of the {len(header)} columns of the delivered file '{role}' are {column!r}."
        return Mistake(at, cause, "Ask the sender for names that differ.")
    cause = f"none of the {len(header)} columns of the delivered file '{role}' is {column!r}."
    remedy = "Look at the first line of the file: mend the name here, or ask for the header."
    return Mistake(at, cause, remedy)


def _no_role(role: str) -> FileRule:
    raise KeyError(role)


def load_mapping(path: Path) -> Mapping:
    """Read and check a mapping file.

    Errors:
        MappingError: naming line, cause and remedy of every mistake.
    """
    try:
        data, text = read_toml(path)
        table = parse_model(MappingTable, data, text, path)
    except ConfigError as error:
        raise MappingError(
            error.what, where=error.where, remedy=error.remedy, next_run=error.next_run
        ) from None
    lines = line_index(text)
    if mistakes := check_mapping(table):
        raise mapping_error(mistakes, lines, path)
    return Mapping(path, table, lines)
