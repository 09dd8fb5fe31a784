"""The report of a published warehouse: one page that opens without a network.

It is a function of the file, the site's smallest count and the version; nothing else is read.
"""

from __future__ import annotations

from warehouse.report.build import write_report
from warehouse.report.render import Written

__all__ = ["Written", "write_report"]
