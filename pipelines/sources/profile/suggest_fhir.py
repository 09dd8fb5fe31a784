"""A first mapping of FHIR resources: the shipped rules, and what this export adds to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from pipelines.sources.profile.codings import MAIN
from pipelines.sources.profile.fhir import FhirFound
from pipelines.sources.profile.known import slug, tokens
from pipelines.sources.profile.report import Count, Table
from pipelines.sources.profile.suggest import HEAD, SIDECAR

_NOT_GIVEN = re.compile(
    r"\bnot[ -]?(given|flushed|administered|done)\b|\b(refused|held)\b", re.IGNORECASE
)
_MANIFEST = """\
# `transactionTime` of the export's manifest.json.
exported_at = "manifest"
data_through = { default = "manifest" }
"""


def fhir_mapping(found: FhirFound) -> str:
    """Return a mapping over the shipped rules."""
    blocks = [HEAD + (_MANIFEST if found.has_manifest else SIDECAR)]
    if any(one.name == "Patient" for one in found.tables):
        blocks.append(
            "[patient]\n"
            "# Path in Patient of the identifier that this source shares with others.\n"
            'identifier = "id"\n'
        )
    blocks += [*_settings(found.tables), *_systems(found.tables)]
    return "\n".join(blocks)


def _settings(tables: Sequence[Table]) -> Iterator[str]:
    words = sorted(
        {
            one.value
            for table in tables
            for codes in table.codes
            if table.name == "MedicationAdministration" and not codes.is_coded
            for one in codes.values
            if _NOT_GIVEN.search(_said(one))
        }
    )
    told = ", ".join(json.dumps(word, ensure_ascii=False) for word in words)
    lines = [
        "[settings]",
        "# Which end of an administration a single time means: start or end.",
        'point_time = "start"',
    ]
    if told:
        lines += [
            "# Methods and reasons that look like a dose that was not given.",
            f"not_given = [{told}]",
        ]
    yield "\n".join(lines) + "\n"


def _said(one: Count) -> str:
    return f"{one.value} {one.label or ''}"


def _systems(tables: Sequence[Table]) -> Iterator[str]:
    """Yield names for the code systems that no rule knows yet."""
    counts: dict[str, int] = {}
    for table in tables:
        for codes in (one for one in table.codes if one.name in MAIN):
            for system, n_rows in codes.systems:
                counts[system] = counts.get(system, 0) + n_rows
    local = [name for name in sorted(counts, key=lambda n: -counts[n]) if _is_local(name)]
    if not local:
        return
    lines = [
        "# Code systems of this export, and what the code lists of studies call them.",
        "[systems]",
    ]
    used: set[str] = set()
    for name in local:
        base = slug(re.split("[/:#]", name.rstrip("/"))[-1])
        token = next(t for t in (base, *(f"{base}-{k}" for k in range(2, 99))) if t not in used)
        used.add(token)
        lines.append(f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(token)}")
    yield "\n".join(lines) + "\n"


def _is_local(system: str) -> bool:
    return system not in tokens() and system != "(no system)"
