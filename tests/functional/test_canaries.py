"""No identifier and no value of a patient gets into what is shown, whatever fails."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.console import TextConsole
from flows.context import RunContext
from flows.refresh import refresh
from flows.run import Stage, StageResult
from flows.stages import STAGES
from pipelines.base.errors import DripwatchError
from pipelines.base.search import search
from pipelines.base.site import Site
from studies.load import HERE
from tests.canary_kit import UNIQUE_VALUE, canaries, finder, forms, plant
from tests.functional.refresh_site import deliver, hospital, make_site
from tests.functional.test_replay import _keep_outcomes

__all__ = ["hospital"]

PLANTED = canaries()


def test_every_form_of_a_canary_is_found_wherever_it_stands(tmp_path: Path) -> None:
    is_in = finder(PLANTED)
    for one in (PLANTED[0], PLANTED[-1]):
        assert len(forms(one)) == 7
        for form in forms(one):
            assert is_in(b"\xffx" + form + b"y")
            assert not is_in(form[:-1])
    (tmp_path / "clean.txt").write_text(" ".join(str(int(one) + 1) for one in PLANTED))
    assert not search([tmp_path], lambda data: bool(is_in(data))).found


def _failing(name: str) -> list[Stage[RunContext]]:
    """The stages of a night, of which one does its work and then fails with every canary."""

    def broken(stage: Stage[RunContext]) -> Stage[RunContext]:
        def work(context: RunContext, step: object) -> StageResult:
            stage.work(context, step)  # type: ignore[arg-type]
            raise ValueError(" ".join(PLANTED), {"value": UNIQUE_VALUE})

        return replace(stage, work=work, retries=0)

    return [broken(one) if one.name == name else one for one in STAGES]


def _site(root: Path, hospital: Path) -> Site:
    shutil.copytree(HERE / "iv_bisphosphonate", root / "study")
    (root / "study" / "published.csv").unlink()
    _keep_outcomes(root / "study" / "study.toml", "fever")
    settings: dict[str, object] = {"studies": ["study"], "row_level": "none"}
    return make_site(root, hospital, site=settings, resources={"buckets": 1})


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_of_a_patient_is_shown_whatever_stage_fails(
    hospital: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    temporary, told = tmp_path / "tmp", tmp_path / "told.txt"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    shutil.copytree(hospital, tmp_path / "made")
    plant(tmp_path / "made" / "deliveries", PLANTED)
    site = _site(tmp_path / "site", tmp_path / "made")
    deliver(site, tmp_path / "made", 1)
    errors = []
    for stage in STAGES:
        with pytest.raises(DripwatchError) as caught:
            refresh(site, console=TextConsole(), stages=_failing(stage.name))
        errors.append(str(caught.value))
    deliver(site, tmp_path / "made", 2)
    refresh(site, console=TextConsole())
    out, err = capfd.readouterr()
    told.write_text("\n".join([*errors, out, err]), encoding="utf-8")
    assert len(told.read_text(encoding="utf-8")) > 2_000
    find = finder([*PLANTED, str(UNIQUE_VALUE)])
    shown = [told, temporary, site.report, site.warehouse, site.restricted / "runs"]
    searched = search((one for one in shown if one.exists()), lambda data: bool(find(data)))
    assert not searched.found
    assert searched.n_files > 5
    # The search is no blind one: it finds them where they are.
    kept = search([site.root / "inbox", site.log_root], lambda data: bool(find(data))).found
    assert {"vitals.csv", "VitalSignMeasured.avro", "quarantine.avro"} <= {
        path.name for path, _ in kept
    }
