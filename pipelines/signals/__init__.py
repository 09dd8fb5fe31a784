"""Counts that merge, and the statistics made from them."""
