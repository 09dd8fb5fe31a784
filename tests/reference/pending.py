"""Rules of docs/windows.md that the reference knows and the product does not yet.

Names leave this set as the product learns them; empty, it goes.
"""

#: Any of restart, never_event, overlap, clean_window, missing_start, time, calcium, serious.
PENDING: set[str] = {"overlap", "clean_window", "missing_start", "time", "measure"}
