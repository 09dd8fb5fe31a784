"""A run as `ops.run` keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from warehouse.batch import naive


@dataclass(frozen=True)
class RunRecord:
    """One run of the refresh, as `ops.run` keeps it; see warehouse/models/ops.run.sql."""

    run_id: str
    site_id: str
    started_at: datetime
    software_version: str
    conductor: str
    status: str = "running"
    finished_at: datetime | None = None
    exit_code: int | None = None
    n_batches_applied: int = 0
    n_batches_held: int = 0
    message: str | None = None

    def row(self, state_hash: str | None) -> dict[str, object]:
        """Return the run as columns of `ops.run`, with the hash of what it published."""
        return asdict(self) | {
            "started_at": naive(self.started_at),
            "finished_at": naive(self.finished_at) if self.finished_at else None,
            "state_hash": state_hash,
        }
