"""CSV and Parquet, told apart by a mapping file."""

from pipelines.sources.flat.delivery import (
    PARSER_VERSION,
    DeliveryFolder,
    describe,
    discover,
    scope_hash,
)
from pipelines.sources.flat.errors import MappingError
from pipelines.sources.flat.extract import Scope, extract
from pipelines.sources.flat.mapping import Mapping, load_mapping

__all__ = [
    "PARSER_VERSION",
    "DeliveryFolder",
    "Mapping",
    "MappingError",
    "Scope",
    "describe",
    "discover",
    "extract",
    "load_mapping",
    "scope_hash",
]
