"""Pooled risks in words: an estimate, a range where a hospital masks, or why there is neither."""

from __future__ import annotations

from warehouse.report import words
from warehouse.report.dots import Dot
from warehouse.report.read import Row

MASKED = "masked"


def risk(row: Row) -> str:
    """Return a pooled risk as the page tells it; what is masked is never a zero."""
    if row["risk"] is not None:
        return words.percent(row["risk"])
    if row["risk_lowest"] is not None and row["risk_highest"] is not None:
        return words.interval(row["risk_lowest"], row["risk_highest"])
    return MASKED if row["n_sites_masked"] else words.DASH


def limits(row: Row) -> str:
    """Return the 95 % limits, of a range those of its ends."""
    if row["risk"] is not None:
        return words.interval(row["ci_low"], row["ci_high"])
    return words.interval(row["ci_lowest"], row["ci_highest"])


def count(row: Row, name: str) -> str:
    """Return a count, or the fewest and the most that there can be."""
    if row[name] is not None:
        return words.count(row[name])
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{words.count(low)} or more" if high is None else f"{low:,} to {high:,}"


def dot(row: Row, label: str) -> Dot:
    """Return a pooled risk as a line of a picture: a diamond, or a range."""
    text = f"{risk(row)}, range" if row["risk"] is None else risk(row)
    if row["risk"] is not None:
        low, high = row["ci_low"], row["ci_high"]
        return Dot(label, low, row["risk"], high, text, is_marked=True, shape="pooled")
    ends = row["risk_lowest"], row["risk_highest"]
    if None in ends:
        return Dot(label, None, None, None, risk(row), is_marked=True, shape="range")
    return Dot(label, ends[0], None, ends[1], text, is_marked=True, shape="range")


def expected(row: Row, label: str = "another hospital") -> list[Dot]:
    """Return where another hospital's risk is expected, as a line; none where that is not told."""
    low, high = row["prediction_low"], row["prediction_high"]
    if low is None or high is None:
        return []
    return [Dot(label, low, None, high, words.interval(low, high), shape="expected")]


def sites(row: Row) -> str:
    """Return how many hospitals a row rests on, and how many of them mask."""
    masked = row["n_sites_masked"]
    return words.many(row["n_sites"], "hospital") + (f", {masked} masked" if masked else "")


def sentence(text: str | None) -> str:
    """Return a remark of the pooled file as a sentence; empty where there is none."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def few(row: Row) -> str:
    """Return what so few hospitals cannot tell; empty from five on."""
    n = row["n_sites"]
    if n == 1:
        return "One hospital: the row is its own, and nothing is known of how hospitals differ."
    if n == 2:
        return (
            "Two hospitals: how they differ is hardly known, and where another one's risk lies "
            "cannot be said."
        )
    return "Fewer than five hospitals: how they differ is hardly known." if n < 5 else ""


def crude(row: Row) -> str:
    """Return the risk as if all children were of one hospital, for rows of few hospitals."""
    if not 1 < row["n_sites"] < 5 or row["crude_risk"] is None:
        return ""
    spread = words.interval(row["crude_low"], row["crude_high"])
    return f"As if all were one hospital: {words.percent(row['crude_risk'])} ({spread})."
