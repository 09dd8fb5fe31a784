"""A forest plot in signs, for a terminal of 80 columns: sites, and what they tell together.

A masked site is drawn as what its counts can be, never as none; where one masks, so is the pooled
risk. The numbers are those of a pooled file; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from pipelines.disclosure import FEW

WIDTH = 80
#: Columns for numbers: events of units, and the risk with its interval.
COUNTS, RISKS = 10, 17
MOST_TICKS = 6
#: What is drawn, from the lower to the upper end.
INTERVAL, RANGE, CAN_BE, EXPECTED = "(-)", "<=>", "...", "[ ]"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Forest:
    """What a pooled file tells of one outcome, undivided.

    Attributes:
        title: what is counted.
        sites: rows of `pooled.forest`.
        pooled: the row of `pooled.risk`.
        without: the row of `pooled.leave_one_out` without the one site that masks, if it is one.
        about: rows of `pooled.site`.
    """

    title: str
    sites: Sequence[Row]
    pooled: Row
    without: Row | None
    about: Sequence[Row]


@dataclass(frozen=True)
class Line:
    """A row of the plot: where it begins and ends as shares, None where nothing can be drawn."""

    name: str
    counts: str
    told: str
    ends: tuple[float, float] | None = None
    signs: str = INTERVAL
    marks: tuple[float, ...] = ()


def read_forest(file: Path, outcome: str, window: str) -> Forest:
    """Read the headline of an outcome from a pooled file.

    Errors:
        StorageError: there is no such file.
        LookupError: it has no such outcome, or more than one study with it.
    """
    from warehouse.query import open_reader

    def rows(statement: str) -> list[dict[str, Any]]:
        found = con.execute(statement, [outcome, window]).to_arrow_table()
        return list(found.to_pylist())

    one = "outcome = ? AND window_name = ? AND stratum = 'all'"
    with open_reader(file) as con:
        found = rows(f"FROM pooled.risk WHERE is_headline AND {one}")
        if len(found) != 1:
            raise LookupError(outcome, window)
        [pooled] = found
        headline = f"{one} AND denominator = '{pooled['denominator']}'"
        sites = rows(
            f"FROM pooled.forest WHERE {headline} ORDER BY n_units DESC NULLS LAST, site_id"
        )
        about = con.execute("FROM pooled.site ORDER BY site_id").to_arrow_table().to_pylist()
        left = {row["left_out"]: row for row in rows(f"FROM pooled.leave_one_out WHERE {headline}")}
    masked = [row["site_id"] for row in sites if row["n_events"] is None]
    without = left.get(masked[0]) if len(masked) == 1 else None
    return Forest(f"{outcome}, {window}", sites, pooled, without, about)


def forest_text(forest: Forest) -> str:
    """Return the plot: a line a site, the pooled risk, where another site's is expected."""
    lines = [_site(row) for row in forest.sites] + _pooled("pooled", forest.pooled)
    if forest.without is not None:
        lines += _pooled(f"- {forest.without['left_out']}", forest.without)
    names = max(len(line.name) for line in lines)
    wide = WIDTH - names - COUNTS - RISKS - 4
    scale = Scale.up_to(max((line.ends[1] for line in lines if line.ends), default=0.0), wide)
    head = f"{'':{names}}  {'':>{COUNTS}} {scale.labels()}"
    drawn = [
        f"{line.name:{names}} {line.counts:>{COUNTS}}  {scale.draw(line)} {line.told:>{RISKS}}"
        for line in lines
    ]
    cut = len(forest.sites)
    rule = f"{'':{names}} {'':>{COUNTS}}  {scale.axis()}"
    body = [*drawn[:cut], rule, *drawn[cut:]]
    text = [f"{forest.title}: units with the event, in %", head, *body, *_remarks(forest)]
    return "\n".join(line.rstrip() for line in text)


def _site(row: Row) -> Line:
    name, counts = row["site_id"], f"{row['n_events']}/{row['n_units']}"
    if row["n_events"] is None:
        return _masked(row)
    if row["risk"] is None:
        return Line(name, counts, "no number")
    ends = row["ci_low"], row["ci_high"]
    return Line(name, counts, _told(row["risk"], *ends), ends, INTERVAL, (row["risk"],))


def _masked(row: Row) -> Line:
    n = row["n_units_high"]
    if row["suppressed_reason"] != FEW or not n or n != row["n_units_low"]:
        return Line(row["site_id"], "masked", "")
    low, high = row["n_events_low"], row["n_events_high"]
    return Line(row["site_id"], "masked", f"{low} to {high} of {n}", (low / n, high / n), CAN_BE)


def _pooled(name: str, row: Row) -> list[Line]:
    risk, low, high = row["risk"], row["ci_low"], row["ci_high"]
    if risk is None:
        return [_range(name, row)]
    counts = f"{row['n_events']}/{row['n_units']}"
    if low is None or high is None:
        return [Line(name, counts, f"{100 * risk:.1f}")]
    lines = [Line(name, counts, _told(risk, low, high), (low, high), RANGE, (risk,))]
    if row["prediction_low"] is not None:
        ends = row["prediction_low"], row["prediction_high"]
        lines.append(Line("another", "", f"({_ends(*ends)})", ends, EXPECTED))
    return lines


def _range(name: str, row: Row) -> Line:
    ends = row["risk_lowest"], row["risk_highest"]
    if None in ends:
        return Line(name, "masked", "no range")
    outer = row["ci_lowest"], row["ci_highest"]
    return Line(name, "masked", f"{_ends(*ends)} ({_ends(*outer)})", outer, RANGE, ends)


def _told(risk: float, low: float, high: float) -> str:
    return f"{100 * risk:.1f} ({_ends(low, high)})"


def _ends(low: float, high: float) -> str:
    return f"{100 * low:.1f}-{100 * high:.1f}"


@dataclass(frozen=True)
class Scale:
    """From 0 to the share at the right edge; `step` between its ticks."""

    step: float
    n_steps: int
    wide: int

    @classmethod
    def up_to(cls, highest: float, wide: int) -> Scale:
        """Return the scale with the finest round step that reaches the highest share."""
        steps = [base / 1000 for base in (1, 2, 5, 10, 20, 50, 100, 200)]
        step = next((one for one in steps if one * MOST_TICKS >= highest), steps[-1])
        return cls(step, max(1, -int(-highest // step)), wide)

    def place(self, share: float) -> int:
        """Return the column of a share."""
        return round(share / (self.step * self.n_steps) * (self.wide - 1))

    def draw(self, line: Line) -> str:
        """Return a line's picture."""
        cells = [" "] * self.wide
        if line.ends:
            low, high = (self.place(one) for one in line.ends)
            cells[low : high + 1] = line.signs[1] * (high - low + 1)
            cells[low], cells[high] = line.signs[0], line.signs[2]
            marks = [self.place(one) for one in line.marks]
            for at in range(min(marks, default=0), max(marks, default=-1) + 1):
                cells[at] = "#"
        return "".join(cells)

    def axis(self) -> str:
        """Return the line with a tick at each step."""
        cells = ["-"] * self.wide
        for number in range(self.n_steps + 1):
            cells[self.place(number * self.step)] = "+"
        return "".join(cells)

    def labels(self) -> str:
        """Return the numbers of the ticks, in percent, each centred on its own."""
        cells = [" "] * (self.wide + 4)
        for number in range(self.n_steps + 1):
            text = f"{100 * number * self.step:g}"
            at = self.place(number * self.step) + 1 - (len(text) - 1) // 2
            cells[at : at + len(text)] = text
        return "".join(cells)


def _remarks(forest: Forest) -> list[str]:
    """Say who is masked or behind, and how much the sites differ."""
    about = {row["site_id"]: row for row in forest.about}
    masked = [row["site_id"] for row in forest.sites if row["n_events"] is None]
    said = []
    if masked:
        names = ", ".join(f"{name} (below {about[name]['threshold']})" for name in masked)
        said.append(f"masked:  {names}, or what would tell such a count")
    newest = max((row["data_through"] or "" for row in forest.about), default="")
    for row in forest.about:
        if row["data_through"] != newest:
            through = row["data_through"] or "nobody knows when"
            said.append(f"behind:  {row['site_id']}, complete into {through}; others {newest}")
    stale = [row["site_id"] for row in forest.about if row["is_stale"]]
    if stale:
        said.append(f"stale:   {', '.join(stale)}: a feed is old or silent (pooled.feed)")
    source = forest.without if forest.pooled["risk"] is None else forest.pooled
    if source is not None and source["tau2"] is not None:
        alike = f"tau2 {source['tau2']:.3f}, I2 {100 * source['i2']:.0f} %"
        said.append(f"differ:  {alike} over {source['n_sites']} sites that tell")
    if forest.pooled["note"]:
        said.append(f"pooled:  {forest.pooled['note']}")
    return [line for one in said for line in wrap(one, WIDTH, subsequent_indent=" " * 9)]
