"""Dot-and-interval pictures: a line a stratum value, in groups an outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warehouse.report.charts import BLUE, INK, MUTED, RUST, Spec, data, layered

_LEFT, _RIGHT, _TEXT = 144, 278, 290
_HEAD, _SUB, _STEP, _GAP = 24, 18, 22, 8
#: Letters that fit below a heading, in the widest of usual fonts.
_LETTERS = 64


Line = dict[str, Any]


@dataclass(frozen=True)
class Dot:
    """A line: its name, the number with its interval (a risk as a proportion), its words."""

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
    """Draw groups of lines over one axis of per cent, from 0."""
    heads, lines, height = _placed(groups, 100)
    highs = [line["high"] for line in lines if line["high"] is not None]
    ends = (0.0, round_up(max(highs, default=1.0)))
    return _picture(heads, lines, height, ends, axis_title, "datum.label + '\u00a0%'")


def number_chart(groups: Sequence[Group], axis_title: str) -> Spec:
    """Draw groups of lines over one axis of plain numbers; 0 is always on it."""
    heads, lines, height = _placed(groups, 1)
    told = [line[name] for line in lines for name in ("low", "high") if line[name] is not None]
    least, most = min([0.0, *told]), max([0.0, *told])
    ends = (-round_up(-least) if least < 0 else 0.0, round_up(most) if most > 0 else 0.0)
    return _picture(heads, lines, height, ends, axis_title, "datum.label")


def _placed(groups: Sequence[Group], factor: float) -> tuple[list[Line], list[Line], int]:
    heads: list[Line] = []
    lines: list[Line] = []
    y = 0
    for group in groups:
        if group.title:
            lead, rest = _halves(group.title)
            heads.append({"y": y + _HEAD / 2, "text": lead, "is_lead": True})
            y += _HEAD
            if rest:
                heads.append({"y": y + _SUB / 2 - 3, "text": rest, "is_lead": False})
                y += _SUB
        for dot in group.dots:
            lines.append(_line(dot, y + _STEP / 2, factor))
            y += _STEP
        y += _GAP
    return heads, lines, y


def _halves(title: str) -> tuple[str, str]:
    """Split a long heading at its first comma or colon: a picture is narrow."""
    place = min((at for at in (title.find(","), title.find(":")) if at > 0), default=-1)
    if len(title) <= _LETTERS // 2 or place < 0:
        return title, ""
    rest = title[place + 1 :].strip()
    return title[:place], rest if len(rest) <= _LETTERS else rest[: _LETTERS - 1] + "\u2026"


def _line(dot: Dot, y: float, factor: float) -> Line:
    scaled = {
        name: None if value is None else round(factor * value, 4)
        for name, value in (("low", dot.low), ("mid", dot.mid), ("high", dot.high))
    }
    words = {"y": y, "label": dot.label, "text": dot.text}
    return {**words, **scaled, "is_marked": dot.is_marked}


def round_up(most: float) -> float:
    """Return a round end of an axis, at or above a number above 0."""
    step = 10.0 ** math.floor(math.log10(max(most, 1e-9)))
    return next(step * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10) if step * factor >= most)


def _picture(
    heads: list[Line],
    lines: list[Line],
    height: int,
    ends: tuple[float, float],
    axis_title: str,
    tick: str,
) -> Spec:
    import altair as alt

    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, height], range=[0, height]))
    x_axis = alt.Axis(title=axis_title, tickCount=2, labelExpr=tick, titleAnchor="start")
    scale = alt.Scale(domain=list(ends), range=[_LEFT, _RIGHT], nice=False)
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
        .transform_filter("datum.is_lead")
        .mark_text(align="left", fontSize=14, fontWeight=600, color=INK)
        .encode(x=alt.value(0), y=y, text="text:N"),
        data(heads)
        .transform_filter("!datum.is_lead")
        .mark_text(align="left", fontSize=12, color=MUTED)
        .encode(x=alt.value(0), y=y, text="text:N"),
    ]
    return layered(layers, height)
