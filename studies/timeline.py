"""The windows of a study as a picture: plain text for a terminal, SVG for a page.

Edges stand in their order and not to scale: minutes, hours and weeks would not fit on one axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from studies.outcomes import CompositeOutcome, LabOutcome, Outcome
from studies.phrases import hours

if TYPE_CHECKING:
    from studies.load import Study

#: How long an infusion is drawn, in hours; decides only whether `start + x` stands before `end`.
DRAWN_HOURS = 2.0
LEFT = 22
_SVG_LEFT, _SVG_RIGHT, _SVG_STEP = 190, 840, 26

LOOKED_AT = "Where nobody looked in `looked at`, a unit is unobserved."

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 }
  .small { font-size: 12px; fill: #52606d } .grid { stroke: #d9dee3; stroke-width: 1 }
  .page { fill: #ffffff } .infusion { fill: #52606d } .risk { fill: #b8420f }
  .baseline { fill: #9aa5b1 } .looked { fill: #8a6d00 }
  .extended, .peak, .control { fill: #1b5e93 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb } .small { fill: #9aa5b1 } .grid { stroke: #3e4c59 }
    .page { fill: #14191f } .infusion { fill: #9aa5b1 } .risk { fill: #f0884f }
    .baseline { fill: #7b8794 } .looked { fill: #e0b83a }
    .extended, .peak, .control { fill: #6cb0e6 }
  }
"""


@dataclass(frozen=True, order=True)
class Edge:
    """Where a bar begins or ends: hours from the start or the end of the unit."""

    at: float
    anchor: str
    offset: float

    @classmethod
    def of(cls, anchor: str, offset: float) -> Edge:
        """Return the edge at an offset in hours from `start` or `end`."""
        return cls(offset + (DRAWN_HOURS if anchor == "end" else 0), anchor, offset)

    @property
    def label(self) -> str:
        """Its name on the axis."""
        if not self.offset:
            return self.anchor
        return f"{self.anchor} {'+' if self.offset > 0 else '-'} {hours(abs(self.offset))}"


@dataclass(frozen=True)
class Bar:
    """A stretch of time with a name."""

    name: str
    lo: Edge
    hi: Edge


@dataclass(frozen=True)
class Group:
    """Outcomes that are watched in the same windows."""

    outcomes: tuple[str, ...]
    bars: tuple[Bar, ...]


def groups(study: Study) -> list[Group]:
    """Return the outcomes with their bars, those with equal bars together, in file order."""
    found: dict[tuple[Bar, ...], list[str]] = {}
    for one in study.model.outcome:
        found.setdefault(_bars(study, one), []).append(one.name)
    return [Group(tuple(names), bars) for bars, names in found.items()]


def _bars(study: Study, one: Outcome) -> tuple[Bar, ...]:
    bars = []
    if isinstance(one, LabOutcome):
        grace = study.model.administration.baseline_grace_minutes / 60
        lo, hi = Edge.of("start", -24 * one.baseline_days), Edge.of("start", grace)
        bars.append(Bar("baseline", lo, hi))
    for window in one.window:
        lo = Edge.of(window.start_anchor, window.start_offset_hours)
        bars.append(Bar(window.name, lo, Edge.of(window.end_anchor, window.end_offset_hours)))
    if not isinstance(one, LabOutcome | CompositeOutcome):
        risk = next((bar for bar in bars if bar.name == "risk"), bars[0])
        seen = Edge.of("end", study.model.follow_up.seen_after_hours)
        # A window that ends before anybody would look is watched from its own start.
        bars.append(Bar("looked at", max(risk.lo, seen) if seen < risk.hi else risk.lo, risk.hi))
    return tuple(bar for bar in bars if bar.lo < bar.hi)


def _infusion(study: Study) -> Bar:
    return Bar(study.model.study.unit, Edge.of("start", 0), Edge.of("end", 0))


def _edges(study: Study) -> list[Edge]:
    bars = [_infusion(study), *(bar for group in groups(study) for bar in group.bars)]
    return sorted({edge for bar in bars for edge in (bar.lo, bar.hi)})


def as_text(study: Study, width: int = 80) -> str:
    """Return the timeline for a terminal of so many columns, in ASCII."""
    edges = _edges(study)
    step = (width - LEFT - 6) // max(1, len(edges) - 1)
    places = {edge: LEFT + step * number for number, edge in enumerate(edges)}
    close = "]" if study.model.study.resolution == "day" else ")"

    def line(bar: Bar, mark: str) -> str:
        lo, hi = places[bar.lo], places[bar.hi]
        return f"  {bar.name:<{LEFT - 2}}" + " " * (lo - LEFT) + f"[{mark * (hi - lo - 1)}{close}"

    drawn = [*_labels(places, width - 2), line(_infusion(study), "#")]
    for group in groups(study):
        drawn += ["", *_wrapped(group.outcomes, width - 2)]
        drawn += [line(bar, _MARKS.get(bar.name, "=")) for bar in group.bars]
    return "\n".join(drawn)


_MARKS = {"baseline": ".", "looked at": "-"}


def _wrapped(names: tuple[str, ...], width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(", ".join(names), width)


def _labels(places: dict[Edge, int], width: int) -> list[str]:
    """Return the lines above the bars: each label begins over its edge, and hides no other."""
    lines: list[str] = []
    for edge, place in places.items():
        label = edge.label
        start = min(place, width - len(label))
        row = next((i for i, line in enumerate(lines) if len(line) + 1 <= start), len(lines))
        if row == len(lines):
            lines.append("")
        lines[row] = lines[row].ljust(start) + label
    ticks = [" "] * (max(places.values()) + 1)
    for place in places.values():
        ticks[place] = "|"
    return [*reversed(lines), "".join(ticks)]


def as_svg(study: Study) -> str:
    """Return the timeline as one SVG page that follows the reader's light or dark colours."""
    edges = _edges(study)
    step = (_SVG_RIGHT - _SVG_LEFT) / max(1, len(edges) - 1)
    places = {edge: round(_SVG_LEFT + step * number, 1) for number, edge in enumerate(edges)}
    y, rows = 108, [_svg_bar(_infusion(study), places, 96)]
    for group in groups(study):
        for text in _svg_wrapped(group.outcomes):
            y += _SVG_STEP
            rows.append(f'<text class="group" x="20" y="{y}">{escape(text)}</text>')
        for bar in group.bars:
            y += _SVG_STEP
            rows.append(_svg_bar(bar, places, y))
    y += 14
    grid = [
        f'<line class="grid" x1="{x}" x2="{x}" y1="78" y2="{y}"/>'
        f'<text class="small" text-anchor="middle" x="{x}" y="{54 + 18 * (number % 2)}">'
        f"{escape(edge.label)}</text>"
        for number, (edge, x) in enumerate(places.items())
    ]
    title = escape(study.model.study.title)
    note = f"Edges in order, not to scale. {LOOKED_AT}"
    height = y + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 {height}" role="img" '
        f'aria-label="Windows of the study: {title}">\n<style>{STYLE}</style>\n'
        f'<rect class="page" width="920" height="{height}"/>\n'
        f'<text class="title" x="20" y="28">{title}</text>\n'
        + "\n".join([*grid, *rows])
        + f'\n<text class="small" x="20" y="{y + 20}">{note}</text>\n</svg>\n'
    )


def _svg_bar(bar: Bar, places: dict[Edge, float], y: int) -> str:
    lo, hi = places[bar.lo], places[bar.hi]
    kind = "infusion" if bar.name in {"course", "administration"} else bar.name.split()[0]
    return (
        f'<text x="36" y="{y}">{bar.name}</text>'
        f'<rect class="{kind}" x="{lo}" y="{y - 11}" width="{round(hi - lo, 1)}" height="13" '
        'rx="3"/>'
    )


def _svg_wrapped(names: tuple[str, ...]) -> list[str]:
    import textwrap

    return textwrap.wrap(", ".join(names), 120)
