"""The report of a published warehouse: one page that opens without a network.

It is a function of the file, the site's smallest count and the version; nothing else is read.
"""

from __future__ import annotations

from warehouse.report.build import Written, write_report

__all__ = ["Written", "write_report"]
