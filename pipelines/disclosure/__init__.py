"""Statistical disclosure control: which counts may leave the site, and which never do."""

from pipelines.disclosure.nested import by_weight, nested_counts
from pipelines.disclosure.release import DERIVED, FEW, PATIENTS, SMALL
from pipelines.disclosure.rows import mask_rows

__all__ = ["DERIVED", "FEW", "PATIENTS", "SMALL", "by_weight", "mask_rows", "nested_counts"]
