"""A site that watches one outcome: a night of it costs a fraction of one over all twelve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.base.site import Site
from studies.load import HERE
from tests.functional.refresh_site import deliver, hospital, make_site, run

__all__ = ["hospital"]


def small_site(root: Path, hospital: Path) -> Site:
    """Make a site over a hospital of which the study leaves fever alone; its inbox is empty."""
    shutil.copytree(HERE / "iv_bisphosphonate", root / "study")
    (root / "study" / "published.csv").unlink()  # of outcomes that are left out here
    keep_outcomes(root / "study" / "study.toml", "fever")
    return make_site(root, hospital, site={"studies": ["study"]}, resources={"buckets": 1})


def keep_outcomes(path: Path, *names: str) -> None:
    """Leave these outcomes in a study."""
    head, *outcomes = path.read_text(encoding="utf-8").split("[[outcome]]\n")
    kept = [one for one in outcomes if any(one.startswith(f'name = "{name}"') for name in names)]
    assert len(kept) == len(names)
    path.write_text("[[outcome]]\n".join([head, *kept]), encoding="utf-8")


@pytest.fixture(scope="session")
def one_night(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A plain site after its first night, of which nothing was forgotten or renewed; read only."""
    site = small_site(tmp_path_factory.mktemp("one-night"), hospital)
    deliver(site, hospital, 1)
    run(site)
    return site
