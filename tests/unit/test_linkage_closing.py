"""When a window closes: feeds that lag, are silent or missing, and infusions that run."""

from __future__ import annotations

from studies.load import Study, load_study
from studies.model import StudyModel
from tests.edge_kit import infused
from tests.linkage_cases import ALL_TYPES, THROUGH, child, link, utc


def test_a_silent_laboratory_holds_its_windows_open_and_no_others() -> None:
    patient = infused("silent").calcium("2024-03-03 09:00", 7.0, low_limit=8.5)
    feeds = dict.fromkeys(ALL_TYPES, THROUGH) | {"LabResulted": utc("2024-03-06 09:29")}
    linked = link([patient], through=feeds)
    assert linked.of("silent", "fever")["status"] == "no_event"
    assert linked.of("silent", "hypocalcaemia")["status"] == "open_event"
    assert linked.of("silent", "any_side_effect")["status"] == "open_event"
    # The window ends 72 h after the end, and results may settle for two days more.
    feeds["LabResulted"] = utc("2024-03-06 09:30")
    assert link([patient], through=feeds).of("silent", "hypocalcaemia")["status"] == "event"


def test_a_feed_that_nobody_delivers_never_closes_what_it_alone_can_show() -> None:
    patient = infused("no-lab-feed")
    feeds = {name: THROUGH for name in ALL_TYPES if name != "LabResulted"}
    linked = link([patient], through=feeds)
    assert linked.of("no-lab-feed", "hypocalcaemia")["status"] == "open"
    assert linked.of("no-lab-feed", "fever")["status"] == "no_event"


def test_a_running_infusion_without_an_end_closes_no_window_for_a_day() -> None:
    patient = child("running").infusion("2024-03-01 09:00", status="in-progress")
    window_end = utc("2024-03-04 09:00")
    feeds = dict.fromkeys(ALL_TYPES, window_end)
    assert link([patient], through=feeds).of("running", "fever")["status"] == "open"
    a_day_later = {name: utc("2024-03-05 09:00") for name in ALL_TYPES}
    assert link([patient], through=a_day_later).of("running", "fever")["status"] == "unobserved"


def test_no_window_closes_while_the_infusion_may_go_on() -> None:
    shipped = load_study("iv_bisphosphonate")
    short = [{"name": "risk", "end_anchor": "start", "end_offset_hours": 2}]
    headache = shipped.outcome("headache").model_dump() | {"window": short}
    model = StudyModel.model_validate(shipped.model.model_dump() | {"outcome": [headache]})
    study = Study(model, shipped.codelist, shipped.limits, shipped.folder)
    patient = child("goes-on").infusion("2024-03-01 09:00", status="in-progress")
    for hours, status in (("12:00", "open"), ("09:00", "unobserved")):
        day = "2024-03-01" if status == "open" else "2024-03-02"
        feeds = {name: utc(f"{day} {hours}") for name in ALL_TYPES}
        assert link([patient], study, through=feeds).of("goes-on", "headache")["status"] == status
