"""The notebook runs from its first cell to its last, and shows what the warehouse holds."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.functional.refresh_site import deliver, hospital, make_site, run
from warehouse.query import run_query

__all__ = ["hospital"]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "warehouse.py"
pytestmark = pytest.mark.slow  # needs the second lock, which `make test-slow` installs


def cells_of(warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the cells define, run from the top without a browser."""
    monkeypatch.setenv("DRIPWATCH_WAREHOUSE", str(warehouse))
    spec = spec_from_file_location("notebook", NOTEBOOK)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    _, defined = module.app.run()
    return dict(defined)


@pytest.mark.parametrize("row_level", ["internal", "deidentified", "none"])
def test_the_notebook_shows_what_the_warehouse_holds(
    tmp_path: Path, hospital: Path, monkeypatch: pytest.MonkeyPatch, row_level: str
) -> None:
    site = make_site(tmp_path, hospital, site={"row_level": row_level})
    deliver(site, hospital, 1)
    run(site)
    cells = cells_of(site.warehouse, monkeypatch)
    outcome, stratum = cells["outcome"].value, cells["stratum"].value
    told = run_query(
        site.warehouse,
        f"""SELECT stratum_value, n_events, n_units FROM signals.risk WHERE is_headline
        AND outcome = '{outcome}' AND stratum = '{stratum}' AND n_units > 0""",
    ).rows
    assert told
    shown = cells["risks"].select("stratum_value", "n_events", "n_units").rows()
    assert set(shown) == set(told)
    assert (cells["units"]["n_units"].sum() > 0) is (row_level == "internal")
    # A browser draws it from this; vl-convert is another drawer of the same.
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(cells["figure"].to_dict())
    assert all(value in drawn for value, *_ in told)
