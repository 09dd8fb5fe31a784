"""Dot-and-interval pictures: a line a stratum value, in groups an outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warehouse.report.charts import BLUE, INK, MUTED, RUST, WIDTH, Spec, data, layered

_LEFT, _RIGHT, _TEXT = 138, 276, 288
_HEAD, _STEP, _GAP = 24, 22, 8


Line = dict[str, Any]


@dataclass(frozen=True)
class Dot:
    """A line: its name, the risk with its interval (proportions), what is written beside it."""

    label: str
    low: float | None
    mid: float | None
    high: float | None
    text: str
    is_marked: bool = False


@dataclass(frozen=True)
class Group:
    """Lines under one heading; without a heading where there is one group."""

    title: str
    dots: tuple[Dot, ...]


def dot_chart(groups: Sequence[Group], axis_title: str) -> Spec:
    """Draw groups of lines over one axis of per cent."""
    heads, lines, height = _placed(groups)
    top = _axis_end([line["high"] for line in lines if line["high"] is not None])
    return _picture(heads, lines, height, top, axis_title)


def _placed(
    groups: Sequence[Group],
) -> tuple[list[Line], list[Line], int]:
    heads: list[Line] = []
    lines: list[Line] = []
    y = 0
    for group in groups:
        if group.title:
            heads.append({"y": y + _HEAD / 2, "text": group.title})
            y += _HEAD
        for dot in group.dots:
            lines.append(_line(dot, y + _STEP / 2))
            y += _STEP
        y += _GAP
    return heads, lines, y


def _line(dot: Dot, y: float) -> Line:
    scaled = {
        name: None if value is None else round(100 * value, 4)
        for name, value in (("low", dot.low), ("mid", dot.mid), ("high", dot.high))
    }
    words = {"y": y, "label": dot.label, "text": dot.text}
    return {**words, **scaled, "is_marked": dot.is_marked}


def _axis_end(highs: Sequence[object]) -> float:
    """Return a round end of the axis; intervals that would squeeze the rest are not cut."""
    most = max((float(str(high)) for high in highs), default=1.0)
    step = 10.0 ** math.floor(math.log10(max(most, 0.1)))
    return next(step * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10) if step * factor >= most)


def _picture(
    heads: list[Line],
    lines: list[Line],
    height: int,
    top: float,
    axis_title: str,
) -> Spec:
    import altair as alt

    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, height], range=[0, height]))
    x_axis = alt.Axis(
        title=axis_title, tickCount=4, labelExpr="datum.label + '\u00a0%'", titleAnchor="start"
    )
    scale = alt.Scale(domain=[0, top], range=[_LEFT, _RIGHT], nice=False)
    x = alt.X("mid:Q", scale=scale, axis=x_axis)
    colour = alt.condition("datum.is_marked", alt.value(RUST), alt.value(BLUE))
    base = data(lines).encode(y=y)
    drawn = base.transform_filter("isValid(datum.mid)")
    layers = [
        drawn.mark_rule(strokeWidth=2.5).encode(
            x=alt.X("low:Q", scale=scale, axis=x_axis), x2="high:Q", color=colour
        ),
        drawn.mark_point(size=70, filled=True, opacity=1).encode(x=x, color=colour),
        base.mark_text(align="left", fontSize=14, color=INK, limit=_LEFT - 22).encode(
            x=alt.value(12), text="label:N"
        ),
        base.mark_text(align="left", fontSize=13, color=MUTED).encode(
            x=alt.value(_TEXT), text="text:N"
        ),
        data(heads)
        .mark_text(align="left", fontSize=14, fontWeight=600, color=INK, limit=WIDTH - 4)
        .encode(x=alt.value(0), y=y, text="text:N"),
    ]
    return layered(layers, height)
