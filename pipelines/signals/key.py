"""The key of a signal: one line that a person can copy, naming one row of `signals.risk`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class SignalKey(NamedTuple):
    """What a row of `signals.risk` is about, within one site.

    Written as `study/outcome/window/stratum=value/denominator`. Only the stratum's value can hold
    any text; study, outcome and denominator are plain names, so the ends tell where it lies.
    """

    study_id: str
    outcome: str
    window_name: str
    stratum: str
    stratum_value: str
    denominator: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> SignalKey:
        """Return the key of a row that has these columns."""
        return cls(*(str(row[name]) for name in cls._fields))

    @classmethod
    def parse(cls, text: str) -> SignalKey | None:
        """Return the key that a text writes; None where it is none."""
        head = text.strip().split("/", 3)
        if len(head) < 4 or "/" not in head[3] or "=" not in head[3]:
            return None
        stratum, denominator = head[3].rsplit("/", 1)
        name, value = stratum.split("=", 1)
        return cls(head[0], head[1], head[2], name, value, denominator)

    def __str__(self) -> str:
        return (
            f"{self.study_id}/{self.outcome}/{self.window_name}/"
            f"{self.stratum}={self.stratum_value}/{self.denominator}"
        )
