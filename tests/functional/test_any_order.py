"""A month of nights that arrive in any order, twice and in pieces, against the month in order."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.base.site import Site
from pipelines.simulate import simulate
from tests.functional.refresh_site import make_site, run, state
from warehouse.store import Store

N_NIGHTS = 30
#: Deliveries that arrive between two refreshes.
AT_ONCE = 9


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deliveries of a month; read only."""
    folder = tmp_path_factory.mktemp("hospital") / "made"
    simulate(8, "any-order", N_NIGHTS, 0.02, folder)
    return folder


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A site that got the month in one go; read only."""
    site = make_site(tmp_path_factory.mktemp("in-order"), hospital)
    for night in sorted((hospital / "deliveries").iterdir()):
        shutil.copytree(night, site.root / "inbox" / night.name)
    assert run(site).n_new_batches == N_NIGHTS
    return site


def pieces(night: Path, into: Path, draw: random.Random) -> Iterator[Path]:
    """Yield a delivery as it is, twice, or cut into two that each hold some rows of every file."""
    fate = draw.choice(["whole", "twice", "cut"])
    if fate != "cut":
        yield night
        if fate == "twice":
            yield night
        return
    parts = [into / f"{night.name}-{half}" for half in "ab"]
    for part in parts:
        part.mkdir(parents=True)
        shutil.copy(night / "delivery.toml", part)
    for file in night.glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
        taken = [draw.randrange(2) for _ in rows]
        for half, part in enumerate(parts):
            with (part / file.name).open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(header)
                writer.writerows(row for row, at in zip(rows, taken, strict=True) if at == half)
    yield from parts


def content(delivery: Path) -> frozenset[tuple[str, bytes]]:
    """What makes a delivery a batch of its own; the halves of a night without rows are one."""
    return frozenset((file.name, file.read_bytes()) for file in delivery.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_in_any_order_twice_and_in_pieces_is_the_month_in_order(
    tmp_path: Path, hospital: Path, in_order: Site, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    nights = sorted((hospital / "deliveries").iterdir())
    arriving = [one for night in nights for one in pieces(night, tmp_path / "cut", draw)]
    draw.shuffle(arriving)
    site = make_site(tmp_path, hospital)
    for number, one in enumerate(arriving):
        shutil.copytree(one, site.root / "inbox" / f"{number:03d}")
        if number % AT_ONCE == AT_ONCE - 1:
            run(site)
    run(site)
    with Store(site) as store:
        assert len(store.batch_ids()) == len(set(map(content, arriving))) > N_NIGHTS
        found = store.state_digests()
        store.rebuild()
    assert state(site) == state(in_order)
    site.warehouse.unlink()
    run(site)
    with Store(site) as store:
        assert store.state_digests() == found
    assert state(site) == state(in_order)
