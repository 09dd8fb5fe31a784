"""The synthetic hospital: planted scenarios, their truth, and the extracts rendered from them."""

from pipelines.simulate.hospital import (
    NAMED_NIGHTS,
    NAMED_PATIENTS,
    NAMED_SEED,
    NAMED_UNITS,
    Form,
    SimulateError,
    simulate,
)
from pipelines.simulate.summary import SimulationSummary
from pipelines.simulate.traits import Traits

__all__ = [
    "NAMED_NIGHTS",
    "NAMED_PATIENTS",
    "NAMED_SEED",
    "NAMED_UNITS",
    "Form",
    "SimulateError",
    "SimulationSummary",
    "Traits",
    "simulate",
]
