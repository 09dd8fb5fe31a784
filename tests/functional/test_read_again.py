"""A delivery that is read again, by a mended mapping, takes the place of its first reading."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from flows.console import SilentConsole
from flows.refresh import refresh
from flows.stages import STAGES
from pipelines.base.errors import ConfigError
from pipelines.base.site import Site
from tests.functional.refresh_site import deliver, hospital, make_site, run, state

__all__ = ["hospital"]

#: The mapping said that the thermometer's place is the body site, and wrote the routes wrong.
RIGHT = 'values = { IV = "intravenous", PO = "oral" }, default = "other"'
WRONG = 'values = { PO = "oral" }, default = "other"'


def rewrite(site: Site, old: str, new: str) -> None:
    path = site.root / "mapping.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def runs(site: Site) -> int:
    with duckdb.connect(str(site.store_path), read_only=True) as con:
        [(n,)] = con.execute("SELECT count(*) FROM ops.run").fetchall()
    return int(n)


@pytest.fixture(scope="module")
def read_rightly(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> str:
    site = make_site(tmp_path_factory.mktemp("right"), hospital)
    deliver(site, hospital, 1)
    run(site)
    return state(site)


@pytest.mark.slow
def test_a_mended_mapping_leaves_nothing_of_the_first_reading(
    tmp_path: Path,
    hospital: Path,
    read_rightly: str,
) -> None:
    site = make_site(tmp_path, hospital)
    deliver(site, hospital, 1)
    rewrite(site, RIGHT, WRONG)
    run(site)
    assert state(site) != read_rightly
    rewrite(site, WRONG, RIGHT)
    run(site)
    assert state(site) == read_rightly
    assert runs(site) == 2
    # Going back would leave open which of the two readings counts, so it must be said.
    rewrite(site, RIGHT, WRONG)
    with pytest.raises(ConfigError, match="took its place"):
        run(site)
    rewrite(site, WRONG, RIGHT)
    rewrite(site, 'namespace = "mrn"', 'namespace = "mrn"\nrevision = 2')
    run(site)
    assert state(site) == read_rightly


def test_files_that_lie_beside_the_deliveries_are_said(
    tmp_path: Path,
    hospital: Path,
) -> None:
    site = make_site(tmp_path, hospital)
    deliver(site, hospital, 1)
    (site.root / "inbox" / "labs.csv").write_text("id\n1\n")
    early = [stage for stage in STAGES if stage.name in {"recover", "discover"}]
    remarks = refresh(site, console=SilentConsole(), stages=early).remarks
    assert any("no delivery's folder" in remark for remark in remarks)
