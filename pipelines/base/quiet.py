"""Keeping libraries quiet that print what they work on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET = threading.Lock()


@contextmanager
def silent() -> Iterator[None]:
    """Let nothing be written to standard error, by no library of whatever language.

    Before Rust's panic becomes an exception it is printed, with the bytes that it stumbled on: a
    date of a patient, taken for a length.
    """
    with _QUIET:
        try:
            kept = os.dup(2)
        except OSError:  # nobody listens
            yield
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
