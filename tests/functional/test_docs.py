"""The documents say what the product does: links lead somewhere, numbers are those of the demo.

What `dripwatch explain` tells of the same small site stands here too: it needs a refreshed one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site
from pipelines.simulate import NAMED_NIGHTS, NAMED_PATIENTS, NAMED_SEED, simulate
from tests.functional.refresh_site import deliver, hospital, make_site, run
from warehouse.query import run_query

__all__ = ["hospital"]

ROOT = Path(__file__).parents[2]
READMES = sorted((ROOT / "pipelines").rglob("README.md"))
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md"), *READMES]
)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} points to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in heads}
            assert anchor in anchors, f"{page.name} points to {target}"


def test_the_readme_prints_and_draws_what_was_planted(tmp_path: Path) -> None:
    made = simulate(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS, 0.01, tmp_path / "hospital")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Any side effect, all units: {made.n_any}/{made.n_units} = 7.0 %" in readme
    assert f"Any side effect, first in record: {made.n_first_any}/123 = 26.8 %" in readme
    picture = (ROOT / "docs" / "risks.svg").read_text(encoding="utf-8")
    lines = (tmp_path / "hospital" / "truth" / "risk.csv").read_text().splitlines()
    header = lines[0].split(",")
    planted = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    drawn = [
        f"({row['n_events']} of {row['n_units']})"
        for row in planted
        if (row["window"], row["stratum"]) == ("risk", "ordinal")
    ]
    assert len(drawn) == 12
    assert all(counts in picture for counts in drawn)
    assert sorted(drawn) == sorted(re.findall(r"\(\d+ of \d+\)", picture))


def test_every_command_that_the_documents_name_exists() -> None:
    from flows.reference import help_texts

    known = {words[1] for words, _ in help_texts() if len(words) > 1}
    named: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))
        named.update(re.findall(r"(?:^|[\s`/])dripwatch ([a-z]+)", code))
    assert named <= known
    assert {"refresh", "sql", "init", "doctor", "quarantine", "study"} <= named


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A site with a published warehouse; read only."""
    site = make_site(tmp_path_factory.mktemp("published"), hospital)
    deliver(site, hospital, 1)
    assert run(site, with_gx=True).exit_code == ExitCode.OK
    return site


def statements_shown() -> list[tuple[str, str]]:
    """Every statement that a page gives to `dripwatch sql` on a site's file, with the page."""
    pages = [page for page in PAGES if page.parent.name != "reference"]
    return [
        (page.name, statement)
        for page in pages
        for statement in re.findall(
            r'dripwatch sql (?!pooled)\S+ "([^"]+)"', page.read_text("utf-8")
        )
    ]


def test_the_python_of_the_recipes_runs(
    published: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "recipes" / "clients.md").read_text("utf-8")
    shown = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(shown) == 1
    code = shown[0].replace("build/demo/warehouse.duckdb", str(published.warehouse))
    exec(code, {})  # noqa: S102 - our own page
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"first", "later"}


def statements_of(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("statement", statements_of("tutorials/writing-sql.md"))
def test_every_statement_of_the_tutorial_finds_rows(published: Site, statement: str) -> None:
    assert run_query(published.warehouse, statement).rows


def test_both_first_pages_show_a_statement() -> None:
    assert {"README.md", "getting-started.md"} <= {page for page, _ in statements_shown()}


@pytest.mark.parametrize(("page", "statement"), statements_shown())
def test_every_statement_that_a_page_shows_finds_rows(
    published: Site, page: str, statement: str
) -> None:
    assert run_query(published.warehouse, statement).rows, page


@pytest.mark.parametrize("stratum", ["drug", "ordinal", "age_band", "setting", "premedicated"])
def test_the_rows_of_units_give_every_risk_of_a_stratum_again(
    published: Site, stratum: str
) -> None:
    counted = ", ".join(
        f"count(*) FILTER (is_in_{name}) AS {name}_n, "
        f"count(*) FILTER (is_in_{name} AND is_event) AS {name}_e"
        for name in ("all", "complete", "observed", "tested", "tested_with_baseline", "determined")
    )
    differing = run_query(
        published.warehouse,
        f"""WITH counted AS (
            SELECT outcome, window_name, {stratum} AS stratum_value, {counted}
            FROM analysis.unit_outcome GROUP BY ALL
        ), long AS (
            SELECT outcome, window_name, stratum_value, left(name, -2) AS denominator,
                max(n) FILTER (name LIKE '%_n') AS n_units,
                max(n) FILTER (name LIKE '%_e') AS n_events
            FROM (UNPIVOT counted ON COLUMNS('_[ne]$') INTO NAME name VALUE n) GROUP BY ALL
        )
        SELECT risk.signal_key FROM signals.risk LEFT JOIN long
        USING (outcome, window_name, stratum_value, denominator)
        WHERE stratum = '{stratum}'
            AND (risk.n_units, risk.n_events) IS DISTINCT FROM (long.n_units, long.n_events)""",
    ).rows
    assert differing == ()
    assert run_query(
        published.warehouse, f"SELECT 1 FROM signals.risk WHERE stratum = '{stratum}'"
    ).rows


def explained(site: Site, *arguments: str) -> dict[str, Any]:
    """The answer of `dripwatch explain`; it must be one JSON object and change nothing."""
    before = site.store_path.read_bytes()
    done = CliRunner().invoke(
        app, ["explain", "--config", str(site.config_path), "--json", *arguments]
    )
    assert site.store_path.read_bytes() == before
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["exit_code"] == done.exit_code
    return answer


def test_every_kind_of_risk_is_explained_by_as_many_units_as_it_counts(published: Site) -> None:
    keys = run_query(
        published.warehouse,
        """SELECT signal_key FROM signals.risk
        QUALIFY row_number() OVER (PARTITION BY n_events > 0 ORDER BY signal_key) % 300 = 0""",
    ).rows
    assert len(keys) > 5
    with_events = 0
    for (key,) in keys:
        found = explained(published, "--signal", key, "--limit", "1000")["result"]
        assert found["is_recounted"], key
        statuses = [unit["status"] for unit in found["units"]]
        numbers = found["numbers"]
        assert (len(statuses), statuses.count("event")) == (numbers["n_units"], numbers["n_events"])
        assert found["published"]["n_units"] == numbers["n_units"]
        with_events += numbers["n_events"] > 0
    assert with_events


def test_an_event_is_explained_down_to_the_delivered_row(published: Site) -> None:
    ((unit,),) = run_query(
        published.warehouse,
        """SELECT min(unit_id) FROM linkage.unit_outcome
        WHERE outcome = 'any_side_effect' AND window_name = 'risk' AND status = 'event'""",
    ).rows
    found = explained(published, "--unit", unit[:12])["result"]
    assert found["unit_id"] == unit
    assert found["edited_studies"] == []
    (any_effect,) = (
        one for one in found["outcomes"]
        if (one["outcome"], one["window_name"]) == ("any_side_effect", "risk")
    )  # fmt: skip
    assert "event" in any_effect["components"].values()
    assert any_effect["components"].keys() >= {"fever", "acute_phase_reaction", "hypocalcaemia"}
    counted = [one["record"] for one in any_effect["evidence"] if one["is_counted"]]
    infused = [record for one in found["infusions"] for record in one["records"]]
    assert counted
    assert len(infused) == sum(one["n_records"] for one in found["infusions"])
    for record in (*counted, *infused):
        place = record["place"]
        content = (published.root / "inbox" / "night-001" / place["file_name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == place["source_file_sha"]
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        assert record["code"] in rows[place["source_row"] - 1].values()


def test_what_cannot_be_explained_says_what_to_do_and_repeats_no_key(published: Site) -> None:
    ends = {
        "select signal_key": explained(published, "--signal", "iv_bisphosphonate/MRN-4711/x"),
        "lists them": explained(published, "--unit", "MRN-4711"),
        "--unit KEY": explained(published, "--unit", "MRN-4711", "--signal", "MRN-4711"),
        "`--signal KEY`": explained(published),
    }
    for remedy, answer in ends.items():
        assert answer["exit_name"] == "USAGE"
        assert remedy in answer["error"]["remedy"]
        assert "4711" not in json.dumps(answer)
    ((unit,),) = run_query(published.warehouse, "SELECT min(unit_id) FROM linkage.course").rows
    told = explained(published, "--unit", unit, "--outcome", "feever")
    assert "fever" in told["error"]["remedy"]


def test_python_that_a_folders_page_shows_runs() -> None:
    shown = [
        code
        for page in READMES
        for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    ]
    assert shown
    for code in shown:
        assert "assert" in code
        exec(code, {})  # noqa: S102 - our own page


def test_the_linkage_page_lists_every_sql_file() -> None:
    from pipelines.linkage.kernel import sql_files

    text = (ROOT / "pipelines" / "linkage" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\d\d_\w+)` \|", text, flags=re.MULTILINE)
    assert [f"{name}.sql" for name in listed] == [name for name, _ in sql_files()]


@pytest.mark.parametrize("command", ["signals", "quality", "runs"])
def test_every_table_of_a_terminal_says_that_patients_are_invented(
    published: Site, command: str
) -> None:
    said = CliRunner().invoke(app, [command, "--config", str(published.config_path)])
    assert "SYNTHETIC" in said.stdout
