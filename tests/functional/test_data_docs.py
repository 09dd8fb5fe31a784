"""Data Docs: pages that open without a network and hold no value."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from expectations.docs import sanitise
from expectations.validate import validate
from pipelines.base.site import ThresholdTable
from schemas import CLINICAL_TYPES
from tests.checks_staging import CONCEPTS, DATA_THROUGH, good, staged

ROOT = Path(__file__).parents[2]
#: Planted in rows that fail; none may be found in what is written.
SECRETS: dict[str, Any] = {
    "record_key": "SECRETKEY",
    "patient_key": "SECRETPATIENT",
    "code": "SECRETCODE",
    "code_system": "SECRET SYSTEM",
    "display": "SECRETDISPLAY",
    "value": 987654321.0,
    "value_text": "SECRETTEXT",
    "unit": "SECRETUNIT",
    "status": "SECRETSTATUS",
    "route": "SECRETROUTE",
    "setting": "SECRETSETTING",
    "sex": "SECRETSEX",
    "dose_value": -987654321.0,
    "z_score": 987654321.0,
    "grade": 98765,
    "time_precision": "SECRETPRECISION",
    "operation": "SECRETOPERATION",
    "event_type": "SECRETTYPE",
    "source_file_sha": "5EC4E7",
}


class Links(HTMLParser):
    """Collects everything in a page that a browser would fetch, run or send."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "srcset", "poster", "style"):
                self.fetched.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def links(page: str) -> Links:
    found = Links()
    found.feed(page)
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("docs")
    rows = {}
    for name in CLINICAL_TYPES:
        wrong = good(name, **SECRETS)
        measurable = good(
            name, **{**SECRETS, "code": good(name).get("code"), "code_system": "loinc"}
        )
        rows[name] = [wrong, {**measurable, "unit": "mg/dL"}, {**wrong, "operation": "upsert"}]
    validate(
        staged(rows),
        event_types=CLINICAL_TYPES,
        data_through=DATA_THROUGH,
        concepts=CONCEPTS,
        thresholds=ThresholdTable(),
        docs_dir=folder,
    )
    assert all(path.is_file() and path.suffix == ".html" for path in folder.iterdir())
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def test_only_pages_of_invented_patients_say_so(pages: dict[str, str]) -> None:
    assert not [name for name, page in pages.items() if "SYNTHETIC" in page]


def test_there_is_an_index_and_a_page_per_event_type(pages: dict[str, str]) -> None:
    expected = {"index.html", "records.html"} | {f"{name}.html" for name in CLINICAL_TYPES}
    assert set(pages) == expected


def test_no_page_fetches_runs_or_sends_anything(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        found = links(page)
        assert not found.tags & {"script", "link", "img", "iframe", "form", "object", "base"}, name
        assert found.handlers == []
        outside = [one for one in found.fetched if not one.startswith("#section-")]
        assert set(outside) <= {*pages, "../index.html"}, name
        lowered = page.lower()
        for trace in ("http:", "https:", "//", "@import", "url(", "greatexpectations.io"):
            assert trace not in lowered, (name, trace)


def test_no_page_holds_a_value_a_key_or_a_file_of_a_failing_row(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        for secret in ("SECRET", "98765", "5EC4E7"):
            assert secret not in page, (name, secret)


def test_pages_tell_the_counts_and_why(pages: dict[str, str]) -> None:
    assert "value_possible" in pages["index.html"]
    assert "No body shows it" in pages["index.html"]
    assert "Failed" in pages["LabResulted.html"]
    # Three rows, all of them failing `precision_known`: GX's own count of it.
    assert "precision_told" in pages["LabResulted.html"]
    assert "3 unexpected values found" in " ".join(pages["LabResulted.html"].split())


@pytest.mark.slow
def test_the_same_batch_gives_the_same_pages(pages: dict[str, str], tmp_path: Path) -> None:
    for number in (1, 2):
        validate(
            staged({"LabResulted": [good("LabResulted", value=None)] * 3}),
            event_types=["LabResulted"],
            data_through=DATA_THROUGH,
            concepts=CONCEPTS,
            thresholds=ThresholdTable(),
            docs_dir=tmp_path / f"{number}",
            is_synthetic=True,
        )
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "12"
    )
    assert first == second
    assert all(b"SYNTHETIC" in page for page in first.values())
    assert pages.keys() > first.keys()


def test_sanitising_keeps_text_and_tables_alone() -> None:
    page = """<html><head><link href="https://x/y.css"><title>t</title></head><body onload="f()">
      <script>fetch('https://x')</script><nav><a href="https://x">home</a></nav>
      <table class="a-b" style="background:url(https://x)"><tr><td onclick="f()">1 &lt; 2</td></tr>
      </table><a href="#section-2">s</a><a href="javascript:f()">j</a><img src="//x/y.png">
      <form action="https://x"><input name="q">ask</form></body></html>"""
    assert sanitise(page).split("\n") == [
        '<table class="a-b"><tr><td>1 &lt; 2</td></tr>',
        '</table><a href="#section-2">s</a><a>j</a>',
    ]


_OFFLINE = """
import sys
from pathlib import Path
from expectations.validate import validate
from pipelines.base.site import ThresholdTable
from tests.checks_staging import CONCEPTS, DATA_THROUGH, good, staged
verdict = validate(staged({"LabResulted": [good("LabResulted")]}), event_types=["LabResulted"],
    data_through=DATA_THROUGH, concepts=CONCEPTS, thresholds=ThresholdTable(),
    docs_dir=Path(sys.argv[1]))
assert verdict.hold_reasons == (), verdict.hold_reasons
"""


def _isolated() -> list[str]:
    command = ["unshare", "-rn"]
    try:
        works = subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        works = False
    if not works:
        pytest.skip("network namespaces are not available here")
    return command


@pytest.mark.slow
def test_validation_runs_without_a_network_and_writes_nowhere_else(tmp_path: Path) -> None:
    home, work, docs = (tmp_path / name for name in ("home", "work", "docs"))
    home.mkdir()
    work.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GX_")},
        "HOME": str(home),
        "TMPDIR": str(work),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [*_isolated(), sys.executable, "-c", _OFFLINE, str(docs)],
        check=False,
        capture_output=True,
        text=True,
        cwd=work,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    # No progress bar, no warning, no greeting: a nightly log has nothing to read here.
    assert (done.stdout, done.stderr) == ("", "")
    assert list(home.rglob("*")) == []
    assert list(work.rglob("*")) == []
    assert sorted(path.name for path in docs.iterdir()) == [
        "LabResulted.html",
        "index.html",
        "records.html",
    ]


def test_nothing_heavy_is_imported_until_a_batch_is_judged() -> None:
    code = (
        "import expectations.validate, expectations.quarantine, expectations.table, sys;"
        "print([m for m in ('great_expectations', 'sqlalchemy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
