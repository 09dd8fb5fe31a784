"""Linkage once more, in plain Python over one patient: slow, obvious, never part of the product.

Written from docs/windows.md alone, without a look at the SQL that it checks.
"""

from tests.reference.linkage import link_patient
from tests.reference.rows import Row, UnitRow

__all__ = ["Row", "UnitRow", "link_patient"]
