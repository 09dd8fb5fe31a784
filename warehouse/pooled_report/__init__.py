"""The report of a pooled file: one page that opens without a network, beside the file."""

from __future__ import annotations

from warehouse.pooled_report.build import write_pooled_report

__all__ = ["write_pooled_report"]
