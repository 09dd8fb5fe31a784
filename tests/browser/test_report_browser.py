"""The report in a real browser: what is read and drawn there is what the warehouse says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.looks import overlapping, severe
from tests.browser.shots import SIZES, shoot
from warehouse.query import run_query

pytestmark = pytest.mark.browser

#: Data Docs too: their link is followed.
PAGES = ("index.html", "data_docs/index.html")


def open_page(page: Page, demo: Path, name: str = "index.html") -> None:
    page.goto((demo / "report" / name).as_uri())


def cells(page: Page, figure: str) -> list[dict[str, str]]:
    """The rows of the tables of the figures whose id ends so, as the browser has them."""
    found: list[dict[str, str]] = page.eval_on_selector_all(
        f'figure[id$="{figure}"] tr[data-key]',
        """rows => rows.map(row => Object.fromEntries([["key", row.dataset.key],
            ...[...row.querySelectorAll("[data-column]")].map(
                cell => [cell.dataset.column, cell.textContent])]))""",
    )
    return found


def percent(share: float) -> str:
    return f"{100 * share:.2f}" if 0 < share < 0.001 else f"{100 * share:.1f}"


def test_the_first_screen_tells_the_answer_of_the_warehouse(page: Page, demo: Path) -> None:
    open_page(page, demo)
    found = run_query(
        demo / "warehouse.duckdb",
        "SELECT n_events, n_units, risk, ci_low, ci_high FROM signals.risk WHERE is_headline AND "
        "outcome = 'any_side_effect' AND (stratum, stratum_value) IN (('all', 'all'), "
        "('ordinal', 'first')) ORDER BY stratum",
    )
    answers = page.locator(".answer").all_inner_texts()
    assert len(answers) == 2
    for text, (n_events, n_units, risk, low, high) in zip(answers, found.rows, strict=True):
        assert f"{percent(risk)}\u00a0%" in text
        assert f"{n_events} of {n_units} " in text
        assert f"{percent(low)} to {percent(high)}\u00a0%" in text
    box = page.locator(".answers").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900


@pytest.mark.parametrize(
    "figure", ["all", "ordinal", "drug", "indication_type", "setting", "premedicated"]
)
def test_the_table_of_every_risk_figure_equals_the_warehouse(
    page: Page, demo: Path, figure: str
) -> None:
    open_page(page, demo)
    found = run_query(
        demo / "warehouse.duckdb",
        "SELECT signal_key, n_events, n_units, risk, ci_low, ci_high FROM signals.risk "
        f"WHERE is_headline AND window_name = 'risk' AND stratum = '{figure}'",
    )
    truth = {row[0]: row[1:] for row in found.rows}
    rows = cells(page, f"-{figure}")
    assert {row["key"] for row in rows} == set(truth)
    shown = [row for row in rows if "n_events" in row]
    for row in shown:
        n_events, n_units, risk, low, high = truth[row["key"]]
        assert (row["n_events"], row["n_units"]) == (f"{n_events:,}", f"{n_units:,}")
        assert n_events == 0 or n_events >= 11
        if risk is not None:
            assert row["risk"] == f"{percent(risk)}\u00a0%"
            # Sums over few patients are told coarser than they are: never a narrower interval.
            told = [float(one) for one in row["ci"].removesuffix("\u00a0%").split(" to ")]
            assert told[0] <= float(percent(low)) <= float(percent(high)) <= told[1]
            assert told[1] - told[0] < 1.5 * float(percent(high - low)) + 0.2
    assert shown or page.locator(f'figure[id$="-{figure}"] .absent').count()


def test_every_dot_lies_where_its_number_does(page: Page, demo: Path) -> None:
    """The place of each dot on its axis, read back from the picture, is the risk in the table."""
    open_page(page, demo)
    picture = page.locator('figure[id$="-ordinal"] svg')
    texts = picture.locator("text").all_text_contents()
    numbers = [float(one) for text in texts for one in re.findall(r"([\d.]+)\u00a0% \(", text)]
    middles = "all => all.map(one => one.getBoundingClientRect()).map(b => b.x + b.width / 2)"
    dots = picture.locator(".mark-symbol path").evaluate_all(middles)
    lines = picture.locator(".role-axis-grid line").evaluate_all(middles)
    ticks = picture.locator(".role-axis-label text").all_text_contents()
    left, right, value = lines[0], lines[-1], float(ticks[-1].split("\u00a0")[0])
    assert len(dots) == len(numbers) > 1
    for x, number in zip(dots, numbers, strict=True):
        assert abs((x - left) / (right - left) * value - number) < value * 0.01


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_asked_of_anybody_and_the_console_is_silent(
    page: Page, demo: Path, name: str
) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    open_page(page, demo, name)
    page.wait_for_load_state("networkidle")
    assert asked == [(demo / "report" / name).as_uri()]
    assert said == []
    assert "SYNTHETIC" in page.inner_text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_severe(
    browser: Browser, demo: Path, name: str, width: int, scheme: Any
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    open_page(page, demo, name)
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert not severe(page)
    context.close()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page, demo: Path) -> None:
    open_page(page, demo)
    wanted = page.locator("a[href], summary").count()
    reached: list[str] = []
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        where = page.evaluate(
            """() => { const at = document.activeElement; const style = getComputedStyle(at);
            return at === document.body ? "" : [at.tagName, at.textContent.slice(0, 40),
                style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0].join("|") }"""
        )
        if not where:
            break
        reached.append(where)
    assert len(reached) >= wanted
    assert all(one.endswith("|true") for one in reached)
    assert reached[0].startswith("A|To the answer")


def test_a_table_opens_by_the_keyboard(page: Page, demo: Path) -> None:
    open_page(page, demo)
    summary = page.locator('figure[id$="-ordinal"] summary')
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator('figure[id$="-ordinal"] table').is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(browser: Browser, demo: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    open_page(page, demo)
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.eval_on_selector_all(
        "svg text", "all => all.map(text => text.getBoundingClientRect().height)"
    )
    assert min(sizes) > 9
    context.close()


def test_no_words_of_a_picture_overlap(page: Page, demo: Path) -> None:
    """Two texts on one line of a picture do not run into each other, and none is cut off."""
    open_page(page, demo)
    assert not overlapping(page)


def test_the_whole_page_can_be_printed(page: Page, demo: Path, tmp_path: Path) -> None:
    open_page(page, demo)
    page.emulate_media(media="print")
    hidden = page.locator("figure table").evaluate_all(
        "all => all.filter(table => !table.checkVisibility()).length"
    )
    assert hidden == 0
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000


@pytest.mark.parametrize(("name", "width", "scheme"), SIZES)
def test_the_pictures_for_the_documents_can_be_taken(
    browser: Browser, demo: Path, tmp_path: Path, name: str, width: int, scheme: Any
) -> None:
    taken = shoot(browser, demo, tmp_path / name, width, scheme)
    assert taken.stat().st_size < 300_000


#: Of each figure, the rows behind its table: key, then columns as the page names them.
BEHIND = {
    "published": """SELECT concat_ws('/', study_id, measure, outcome, window_name,
            stratum || '=' || stratum_value) AS key, n_events, n_units, risk, published_risk
        FROM signals.benchmark""",
    "calcium_total": """SELECT concat_ws('/', 'laboratory', concept, day) AS key, n_patients, p10,
            p25, median, p75, p90 FROM signals.laboratory WHERE concept = 'calcium_total'""",
    "phosphate": """SELECT concat_ws('/', 'laboratory', concept, day) AS key, n_patients, p10,
            p25, median, p75, p90 FROM signals.laboratory WHERE concept = 'phosphate'""",
    "look-1": """SELECT concat_ws('/', study_id, outcome, window_name, watched, look_number) AS key,
            n_events, expected, threshold FROM signals.sequential""",
    "density-z-change": """SELECT concat_ws('/', study_id, measure, stratum || '=' || stratum_value)
            AS key, n_patients, value_before, value_after, estimate FROM signals.effectiveness""",
    "onset-0": """SELECT concat_ws('/', 'onset', outcome, stratum || '=' || stratum_value, scale,
            bin_end) AS key, cumulative_incidence, sum(n_events) OVER (PARTITION BY outcome,
            window_name, stratum, stratum_value, scale ORDER BY bin_end)::BIGINT AS n_events
        FROM signals.onset WHERE window_name = 'risk'""",
}
SHARES = ("risk", "published_risk", "cumulative_incidence")
UNTOLD = ("not shown", "\u2013", "nothing published")


@pytest.mark.parametrize("figure", BEHIND)
def test_the_table_of_every_other_figure_equals_the_warehouse(
    page: Page, demo: Path, figure: str
) -> None:
    open_page(page, demo)
    found = run_query(demo / "warehouse.duckdb", BEHIND[figure])
    truth = {row[0]: dict(zip(found.columns[1:], row[1:], strict=True)) for row in found.rows}
    n_held = 0
    for row in cells(page, f"-{figure}"):
        for name, number in truth[row["key"]].items():
            text = row.get(name, UNTOLD[0])
            if text in UNTOLD or number is None:
                continue
            if name in SHARES:
                assert text == f"{percent(number)}\u00a0%"
            else:
                assert text == (f"{number:,}" if isinstance(number, int) else f"{number:.2f}")
            n_held += 1
    assert n_held
