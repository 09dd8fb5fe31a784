"""Statistical disclosure control: which counts may leave the site, and which never do."""

from pipelines.disclosure.nested import nested_counts
from pipelines.disclosure.rows import DERIVED, PATIENTS, SMALL, mask_rows

__all__ = ["DERIVED", "PATIENTS", "SMALL", "mask_rows", "nested_counts"]
