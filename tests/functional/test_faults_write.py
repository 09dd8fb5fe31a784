"""Every class of write fails once, in every place: an exit code, and nothing lost."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from pipelines.base.errors import ExitCode
from tests.functional.fault_kit import (
    FOR_GOOD,
    Outcome,
    Stream,
    needs_layer,
    runner,
    short_stream,
    trial,
)

__all__ = ["runner", "short_stream"]

ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EACCES")}


def failing(
    stream: Stream, folder: Path, place: str, call: str, number: int, *, first: int = 1, times: int
) -> Outcome:
    """Run the second night while calls in a place fail; the next run must put it right."""
    with trial(stream, 2, folder) as site:
        below = site.root if place == "." else site.root / place
        ended = stream.runner.run(site, arm={"fail": [str(below), call, first, times, number]})
        assert ended.code in (ExitCode.OK, ExitCode.STORAGE), f"{place} {call}: {ended}"
        if ended.code:
            assert "next run" in ended.what
            assert "committed batch" in ended.what
    return ended


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", sorted(ERRORS))
def test_each_class_of_write_fails_once(short_stream: Stream, tmp_path: Path, name: str) -> None:
    """A class is a kind of call in a place, as an undisturbed run does it; one of them fails."""
    needs_layer(short_stream.runner)
    classes = short_stream.runner.trace(short_stream.before(2, tmp_path / "traced"))
    chosen = random.Random(name)  # noqa: S311 - not a secret
    codes: list[int] = []
    wrong: list[str] = []
    for (call, place), count in sorted(classes.items()):
        first = chosen.randint(1, count)
        folder = tmp_path / f"site-{len(codes)}"
        try:
            ended = failing(short_stream, folder, place, call, ERRORS[name], first=first, times=1)
            codes.append(ended.code)
        except AssertionError as error:
            codes.append(-1)
            wrong.append(f"{call} number {first} in {place}: {error}")
    assert not wrong, "\n".join(wrong)
    assert len(codes) > 40
    assert ExitCode.OK in codes
    assert ExitCode.STORAGE in codes


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_a_disk_that_fills_up_at_any_point_and_stays_full(
    short_stream: Stream, tmp_path: Path
) -> None:
    needs_layer(short_stream.runner)
    counted = short_stream.runner.trace(short_stream.before(2, tmp_path / "traced"))
    n_writes = sum(count for (call, _), count in counted.items() if call == "write")
    chosen = random.Random("full")  # noqa: S311 - not a secret
    for _ in range(int(os.environ.get("DRIPWATCH_FULL", "20"))):
        first = chosen.randint(1, n_writes)
        failing(
            short_stream, tmp_path / "site", ".", "write", errno.ENOSPC, first=first, times=FOR_GOOD
        )
