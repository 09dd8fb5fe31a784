"""The event log: batches that are committed whole or not at all."""
