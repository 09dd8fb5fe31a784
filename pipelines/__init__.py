"""From extract to signals: sources, ingest, linkage, signals, and the synthetic hospital."""
