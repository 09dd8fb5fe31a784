"""What is in FHIR resources."""
from dataclasses import dataclass
@dataclass
class F: tables=()
def describe(files, asked): return F()
