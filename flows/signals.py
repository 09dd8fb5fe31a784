"""`dripwatch signals`: risks with their counts, and the alerts that stand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from flows.asked import Asked, Row, chosen, headline, natural, print_csv
from flows.console import printable
from flows.reply import Reply

_RISKS = "FROM analysis.risk"
_ALERTS = """
SELECT a.alert_key, s.study_id, s.site_id, s.outcome, a.label, a.window_name, a.watched, a.state,
    a.evidence, a.reasons, a.n_serious, a.look_number, a.reviewed_by, a.reviewed_at, a.data_changes,
    a.stale_feeds, a.drifted
FROM analysis.alert AS a JOIN signals.alert AS s USING (alert_key)
ORDER BY a.alert_key
"""
_UNKNOWN = (
    "events: units with the event, of all that count; not seen: units that count as\n"
    "without it, though nobody looked, tested or could tell."
)


class Filters(NamedTuple):
    """What the user wants to see; empty: everything, undivided."""

    outcomes: Sequence[str] = ()
    windows: Sequence[str] = ()
    stratum: str = "all"


def show_signals(
    config: Path, filters: Filters, answer: Reply, *, alerts_only: bool, as_csv: bool
) -> None:
    """Show the headline risks and the alerts that stand.

    Args:
        config: the site's site.toml.
        filters: outcomes, windows and stratum to show.
        answer: gets it all.
        alerts_only: leave the risks out.
        as_csv: print one table as CSV: the risks, or with `alerts_only` the alerts.

    Errors:
        UsageError: a filter names what is not there.
        StorageError: nothing has been published yet.
    """
    asked = Asked(config)
    fresh = asked.freshness()
    risks = _filtered(asked.rows(_RISKS), filters)
    alerts = [
        row
        for row in asked.rows(_ALERTS)
        if (not filters.outcomes or row["outcome"] in filters.outcomes)
        and (not filters.windows or row["window_name"] in filters.windows)
    ]
    answer.result = {"freshness": fresh, "risks": risks, "alerts": alerts}
    answer.message = headline(fresh)
    if as_csv:
        rows, names = (alerts, _ALERT_COLUMNS) if alerts_only else (risks, _RISK_COLUMNS)
        print_csv(answer, rows, names)
    elif not answer.as_json:
        _print(answer, [] if alerts_only else risks, alerts, filters.stratum)


def _filtered(rows: list[Row], filters: Filters) -> list[Row]:
    rows = chosen(rows, "outcome", filters.outcomes, "--outcome")
    rows = chosen(rows, "window_name", filters.windows, "--window")
    rows = chosen(rows, "stratum", [filters.stratum], "--stratum") if rows else []
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[object, ...]:
    """The main window of an outcome comes first, and ages in the order of life."""
    window = row["window_name"]
    return (
        *(row["study_id"], row["outcome"], window != "risk", window),
        natural(str(row["stratum_value"])),
    )


#: Columns of the CSV, in order; those of analysis.risk and analysis.alert.
_RISK_COLUMNS = (
    "study_id", "site_id", "outcome", "label", "window_name", "stratum", "stratum_value",
    "n_events", "n_units", "n_patients", "denominator", "risk_percent", "ci_low_percent",
    "ci_high_percent", "n_not_known", "n_open", "n_censored", "cautions", "signal_key",
)  # fmt: skip
_ALERT_COLUMNS = (
    "alert_key", "study_id", "site_id", "outcome", "label", "window_name", "watched", "state",
    "evidence", "reasons", "n_serious", "look_number", "reviewed_by", "reviewed_at", "data_changes",
    "stale_feeds", "drifted",
)  # fmt: skip


def _print(answer: Reply, risks: list[Row], alerts: list[Row], stratum: str) -> None:
    say, table = answer.console.say, answer.console.table
    say(answer.message)
    by = ("study_id",) if stratum == "all" else ("study_id", "outcome", "window_name")
    for _, group in groupby(risks, key=lambda row: [row[name] for name in by]):
        rows = list(group)
        if stratum == "all":
            title = f"{rows[0]['study_id']}: risk after a unit, with its 95 % interval"
            header = ("outcome", *_NUMBERS)
            table(title, header, [[_named(row), *_numbers(row)] for row in rows])
        else:
            title = f"{rows[0]['label']} ({rows[0]['window_name']}), by {stratum}"
            table(title, (stratum, *_NUMBERS), [[_value(row), *_numbers(row)] for row in rows])
    if any(row["n_not_known"] for row in risks):
        say(_UNKNOWN)
    _print_alerts(answer, alerts)


def _print_alerts(answer: Reply, alerts: list[Row]) -> None:
    if not alerts:
        answer.console.say("No alert stands.")
        return
    header = ["state", "outcome", "watched", ">serious"]
    rows = [[row["state"], _named(row), row["watched"], _count(row["n_serious"])] for row in alerts]
    if any(row["reviewed_by"] for row in alerts):
        header.append("reviewed by")
        for cells, row in zip(rows, alerts, strict=True):
            cells.append(printable(row["reviewed_by"] or ""))
    answer.console.table("Alerts that stand", header, rows)
    answer.console.say("More of each: --json, or analysis.alert; `dripwatch review` judges one.")


def _named(row: Row) -> str:
    """The outcome, with its window where that is not the main one."""
    window = row["window_name"]
    return str(row["outcome"]) + ("" if window == "risk" else f", {window}")


def _value(row: Row) -> str:
    return printable(str(row["stratum_value"]))


_NUMBERS = (">events", ">risk %", ">95 %", ">not seen")


def _numbers(row: Row) -> list[str]:
    return [
        f"{row['n_events']:,}/{row['n_units']:,}",
        f"{row['risk_percent']:.1f}",
        f"{row['ci_low_percent']:.1f}-{row['ci_high_percent']:.1f}",
        _count(row["n_not_known"]),
    ]


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
