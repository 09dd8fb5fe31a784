"""CSV and Parquet, told apart by a mapping file."""

from pipelines.sources.flat.delivery import PARSER_VERSION, describe, scope_hash
from pipelines.sources.flat.errors import MappingError
from pipelines.sources.flat.extract import Scope, extract
from pipelines.sources.flat.folders import DeliveryFolder, discover, loose_files
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
    "loose_files",
    "scope_hash",
]
