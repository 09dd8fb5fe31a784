"""CSV and Parquet, told apart by a mapping file."""

from pipelines.sources.flat.delivery import PARSER_VERSION, describe
from pipelines.sources.flat.extract import extract
from pipelines.sources.flat.mapping import Mapping, load_mapping
from pipelines.sources.rows.delivery import scope_hash
from pipelines.sources.rows.errors import MappingError
from pipelines.sources.rows.folders import DeliveryFolder, discover, loose_files
from pipelines.sources.rows.stage import Scope

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
