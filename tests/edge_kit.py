"""A child infused once, at the hour of most worked edges."""

from __future__ import annotations

from typing import Any

from tests.linkage_cases import Patient, child

START, END = "2024-03-01 09:00", "2024-03-01 09:30"


def infused(key: str, **fields: Any) -> Patient:
    """A child infused once, seen again two days later."""
    return child(key, **fields).infusion(START, END).temperature("2024-03-03 09:00", 36.8)
