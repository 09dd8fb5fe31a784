"""Looks of whole nights: taken once, never rewritten, the same for the same nights, reviewed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.context import RunContext
from pipelines.base import duck
from pipelines.base.errors import LogError
from pipelines.base.site import Site, load_site
from pipelines.ingest.log import EventLog
from studies.load import HERE
from tests.functional.nights_kit import FILES, Row, deliver, make_site, read, row, stages
from warehouse.digest import digest

pytestmark = pytest.mark.slow  # a dozen whole runs; tests/unit/test_looks.py has the looks alone

Night = dict[str, list[Row]]
CALCIUM, LOW, OK = "17861-6", 7.5, 9.5
STAGES = ("link", "signals", "look", "publish", "report")

SURVEILLANCE = """
[surveillance]
starts_on = 2025-03-01
{baseline}

[[surveillance.pair]]
outcome = "hypocalcaemia"
alpha = 0.05
max_expected = 10
first_look_expected = 0
{reference}
"""


def site_of(
    root: Path,
    reference: str = "rate_first = 0.02\nrate_later = 0.02",
    baseline: str = "",
) -> Site:
    """A site whose study has one outcome, under surveillance."""
    root.mkdir(exist_ok=True)
    shutil.copytree(HERE / "iv_bisphosphonate", root / "study")
    (root / "study" / "published.csv").unlink()  # of outcomes that are left out here
    path = root / "study" / "study.toml"
    head, *outcomes = path.read_text(encoding="utf-8").split("[[outcome]]\n")
    head = head.split("[surveillance]")[0]
    kept = [one for one in outcomes if one.startswith('name = "hypocalcaemia"')]
    text = SURVEILLANCE.format(reference=reference, baseline=baseline)
    path.write_text("[[outcome]]\n".join([head, *kept]) + text, encoding="utf-8")
    make_site(root, "delta")
    config = root / "site.toml"
    config.write_text(config.read_text().replace('"iv_bisphosphonate"', '"study"'))
    return load_site(config)


def child(who: str, value: float, n: int = 1, day: str = "2025-03-03") -> Night:
    """A child with one infusion, and calcium on the day after."""
    return {
        "patients": [row(f"p-{who}", who, n, born="2015-06-01", sex="female")],
        "diagnoses": [row(f"d-{who}", who, n, at="2020-01-01", code="Q78.0")],
        "drugs": [
            row(f"i-{who}", who, n, at=f"{day} 09:00", end=f"{day} 09:30", code="77655")
            | {"route": "intravenous"}
        ],
        "labs": [
            row(f"l-{who}", who, n, at=f"{day[:-1]}{int(day[-1]) + 1} 09:00", code=CALCIUM)
            | {"value": str(value)}
        ],
    }


def both(*nights: Night) -> Night:
    return {name: [r for one in nights for r in one.get(name, ())] for name in FILES}


#: What each night brings, and its look: units, events, events since the look before.
NIGHTS: list[tuple[Night, tuple[int, int, int] | None]] = [
    (both(child("a", OK), child("b", OK), child("c", OK)), (3, 0, 0)),
    (both(child("c", LOW, n=2), child("d", LOW)), (4, 2, 2)),
    (child("c", OK, n=3), (4, 1, -1)),
    ({"patients": [row("p-x", "x", born="2015-06-01", sex="male")]}, None),
    (both(*(child(who, LOW) for who in "efg")), (7, 4, 3)),
    (child("h", LOW), None),
]


def run(site: Site) -> RunContext:
    context = read(site)
    stages(context, STAGES)
    return context


def tables(site: Site, query: str) -> list[tuple[Any, ...]]:
    with duck.connect(site.warehouse, read_only=True) as con:
        return con.execute(query).fetchall()


@dataclass
class History:
    """A site after the nights, and its history after each."""

    site: Site
    digests: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    made = History(site_of(tmp_path_factory.mktemp("surveillance") / "site"))
    for number, (night, _) in enumerate(NIGHTS):
        deliver(made.site, number, night)
        made.remarks = run(made.site).remarks
        made.digests.append(digest(made.site.warehouse, "history").value)
    return made


def dripwatch(*arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        CliRunner().invoke(app, [*map(str, arguments), "--json"]).stdout
    )
    return answer


def test_a_look_is_taken_where_closed_windows_changed_and_none_after_the_signal(
    history: History,
) -> None:
    found = tables(
        history.site,
        """SELECT n_units_first + n_units_later, n_events, n_events_added, decision,
            threshold, round(expected, 9) FROM signals.sequential ORDER BY look_number""",
    )
    looks = [look for _, look in NIGHTS if look is not None]
    assert [one[:3] for one in found] == looks
    assert [one[3] for one in found] == ["continue", "continue", "continue", "signal"]
    assert [one[4] for one in found] == [3, 3, 3, 3]
    assert [one[5] for one in found] == [0.06, 0.08, 0.08, 0.14]
    assert tables(
        history.site, "SELECT window_name, state, evidence FROM signals.alert ORDER BY ALL"
    ) == [("extended", "none", "none"), ("risk", "signal", "signal")]
    assert tables(history.site, "SELECT count(*) FROM ops.look") == [(len(looks),)]


def test_the_summary_tells_what_surveillance_costs_and_the_data_before_the_alert(
    history: History,
) -> None:
    [cost] = [one for one in history.remarks if one.startswith("Surveillance: ")]
    assert "1 primary pair; 0.05 false signals are expected at most" in cost
    [alert] = [one for one in history.remarks if "hypocalcaemia/risk:" in one]
    assert alert.index("in the data: late records") < alert.index("state: signal")
    [(changes, state)] = tables(
        history.site,
        "SELECT data_changes, state FROM analysis.alert WHERE window_name = 'risk'",
    )
    assert (changes, state) == (["record_late"], "signal")


def test_nights_replayed_beside_the_site_say_what_each_night_said(history: History) -> None:
    told = dripwatch("replay", "--config", history.site.config_path, "--from", "2025-08-31")
    assert [one["history"] for one in told["result"]["nights"]] == history.digests


def test_another_site_with_the_same_nights_and_runs_that_were_killed_has_the_same_history(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_of(tmp_path / "site")
    for number, (night, _) in enumerate(NIGHTS):
        deliver(site, number, night)
        with monkeypatch.context() as patch:
            # By turns: killed after linkage, after the look was recorded, before it was published.
            names = [("link", "signals"), STAGES[:3], STAGES[:3]][number % 3]
            if number % 3 == 1:
                patch.setattr("warehouse.look_records.load", _killed)
            with pytest.raises(KeyboardInterrupt) if number % 3 == 1 else _nothing():
                stages(read(site), names)
        run(site)
        assert digest(site.warehouse, "history").value == history.digests[number]
    assert names_of(site) == names_of(history.site)


def names_of(site: Site) -> list[str]:
    return EventLog(site.log_root).recorded.names()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


class _nothing:  # noqa: N801 - stands where `pytest.raises` does
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_a_review_is_recorded_and_published_by_the_next_refresh(
    history: History, tmp_path: Path
) -> None:
    shutil.copytree(history.site.root, tmp_path / "site")
    site = load_site(tmp_path / "site" / "site.toml")
    key = "iv_bisphosphonate/hypocalcaemia/risk"
    options = ("--state", "confirmed", "--by", "safety officer", "--note", "seen in the ward")
    answer = dripwatch("review", "--config", site.config_path, "--alert", key, *options)
    assert answer["exit_code"] == 0
    assert answer["result"]["judged_state"] == "signal"
    run(site)
    where = f"alert_key = '{key}'"
    assert tables(
        site, f"SELECT state, evidence, reviewed_by FROM signals.alert WHERE {where}"
    ) == [("confirmed", "signal", "safety officer")]
    assert b"seen in the ward" not in site.warehouse.read_bytes()
    wrong = dripwatch("review", "--config", site.config_path, "--alert", "s/x/risk", *options)
    assert "No alert of this key stands" in wrong["error"]["what"]
    assert len(names_of(site)) == len(names_of(history.site)) + 1


def test_a_revised_study_starts_anew_and_the_old_looks_stay(
    history: History, tmp_path: Path
) -> None:
    shutil.copytree(history.site.root, tmp_path / "site")
    site = load_site(tmp_path / "site" / "site.toml")
    study = site.root / "study" / "study.toml"
    study.write_text(study.read_text().replace("max_expected = 10", "max_expected = 20"))
    remarks = run(site).remarks
    assert any("begins anew" in one for one in remarks)
    found = tables(
        site,
        "SELECT count(DISTINCT study_hash), count(*), max(n_events) FROM signals.sequential",
    )
    assert found == [(2, 5, 5)]


def test_a_look_that_was_tampered_with_stops_the_night(history: History, tmp_path: Path) -> None:
    shutil.copytree(history.site.log_root, tmp_path / "log")
    recorded = EventLog(tmp_path / "log").recorded
    paths = sorted((recorded.root / "LookTaken").glob("*.avro"))
    shutil.copy(paths[0], paths[1])
    with pytest.raises(LogError, match="damaged"):
        recorded.rows("LookTaken")


def test_a_baseline_is_counted_alike_and_stays_as_the_first_look_saw_it(tmp_path: Path) -> None:
    site = site_of(tmp_path / "site", reference="", baseline="baseline_from = 2025-01-01")
    before: list[Night] = [
        child(f"b{number}", LOW if number < 2 else OK, day="2025-02-03") for number in range(8)
    ]
    deliver(site, 0, both(*before, child("a", OK), child("b", LOW)))
    run(site)
    deliver(site, 1, both(child("b2", LOW, n=2, day="2025-02-03"), child("c", OK)))
    run(site)
    found = tables(
        site,
        """SELECT look_number, n_events, round(expected, 9), baseline_events_first,
            baseline_units_first, baseline_units_later, reference
        FROM signals.sequential ORDER BY look_number""",
    )
    assert found == [(1, 1, 0.5, 2, 8, 0, "baseline"), (2, 1, 0.75, 2, 8, 0, "baseline")]
