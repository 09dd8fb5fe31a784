"""Rows of named text columns to events: what every source shares."""
