"""Transforms from extract to signals: sources, ingest, linkage, signals, and the synthetic hospital."""
