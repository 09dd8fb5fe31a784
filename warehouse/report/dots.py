"""Dot-and-interval pictures: a line a stratum value or a hospital, in groups an outcome."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from warehouse.report.charts import BLUE, INK, MUTED, RUST, Spec, data, layered

if TYPE_CHECKING:
    import altair as alt

_LEFT, _RIGHT, _TEXT = 144, 278, 290
_HEAD, _SUB, _STEP, _GAP = 24, 18, 22, 8
#: Letters that fit below a heading, in the widest of usual fonts.
_LETTERS = 64


Line = dict[str, Any]

#: A dot with its interval; a diamond for what was pooled; `range` for what a number can be, and
#: `expected` for where another one is expected: lines without a dot.
Shape = Literal["dot", "pooled", "range", "expected"]


@dataclass(frozen=True)
class Dot:
    """A line: its name, the number with its interval (a risk as a proportion), its words."""

    label: str
    low: float | None
    mid: float | None
    high: float | None
    text: str
    is_marked: bool = False
    shape: Shape = "dot"


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
    return _picture(heads, lines, height, Axis(ends, axis_title, "datum.label + '\u00a0%'"))


def number_chart(groups: Sequence[Group], axis_title: str) -> Spec:
    """Draw groups of lines over one axis of plain numbers; 0 is always on it."""
    heads, lines, height = _placed(groups, 1)
    told = [line[name] for line in lines for name in ("low", "high") if line[name] is not None]
    least, most = min([0.0, *told]), max([0.0, *told])
    ends = (-round_up(-least) if least < 0 else 0.0, round_up(most) if most > 0 else 0.0)
    return _picture(heads, lines, height, Axis(ends, axis_title, "datum.label"))


def ratio_chart(groups: Sequence[Group], axis_title: str) -> Spec:
    """Draw groups of ratios over one axis of equal steps for equal factors, with a line at 1.

    What goes beyond a factor of 20 is cut off at the axis; the words beside it tell all.
    """
    told = [
        value
        for group in groups
        for dot in group.dots
        for value in (dot.low, dot.mid, dot.high)
        if value is not None and value > 0
    ]
    least = max([one for one in _FACTORS if one <= min([0.5, *told])], default=_FACTORS[0])
    most = min([one for one in _FACTORS if one >= max([2.0, *told])], default=_FACTORS[-1])
    cut = [replace(one, dots=tuple(_cut(dot, least, most) for dot in one.dots)) for one in groups]
    heads, lines, height = _placed(cut, 1)
    return _picture(heads, lines, height, Axis((least, most), axis_title, "datum.label", 1.0))


_FACTORS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def _cut(dot: Dot, least: float, most: float) -> Dot:
    def inside(value: float | None) -> float | None:
        return None if value is None else min(max(value, least), most)

    return replace(dot, low=inside(dot.low), mid=inside(dot.mid), high=inside(dot.high))


@dataclass(frozen=True)
class Axis:
    """The axis of numbers: its ends, its name, how its labels are written.

    Attributes:
        neutral: the ratio of no difference, where the axis is one of ratios.
    """

    ends: tuple[float, float]
    title: str
    tick: str
    neutral: float | None = None


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
    return {**words, **scaled, "is_marked": dot.is_marked, "shape": dot.shape}


def round_up(most: float) -> float:
    """Return a round end of an axis, at or above a number above 0."""
    step = 10.0 ** math.floor(math.log10(max(most, 1e-9)))
    return next(step * factor for factor in (1, 2, 3, 4, 5, 6, 8, 10) if step * factor >= most)


def _picture(heads: list[Line], lines: list[Line], height: int, axis: Axis) -> Spec:
    import altair as alt

    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[0, height], range=[0, height]))
    x_axis, scale = _scale(axis)
    base = data(lines).encode(y=y)
    layers = [
        *_marks(base, {line["shape"] for line in lines}, x_axis, scale),
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
    if axis.neutral is not None:
        one = data([{"mid": axis.neutral}]).mark_rule(color=MUTED, strokeDash=[3, 3])
        layers.insert(0, one.encode(x=alt.X("mid:Q", scale=scale, axis=x_axis)))
    return layered(layers, height)


def _scale(axis: Axis) -> tuple[alt.Axis, alt.Scale]:
    import altair as alt

    if axis.neutral is None:
        low, high = axis.ends
        # Two letters more than the axis is long, and labels run into each other.
        shown: dict[str, Any] = {"tickCount": 2} if low else {"values": [0, high / 2, high]}
        scale = alt.Scale(domain=list(axis.ends), range=[_LEFT, _RIGHT], nice=False)
    else:
        values = [one for one in _FACTORS if axis.ends[0] <= one <= axis.ends[1]]
        shown = {"values": values if len(values) < 4 else [values[0], 1, values[-1]]}
        ends = list(axis.ends)
        scale = alt.Scale(type="log", domain=ends, range=[_LEFT, _RIGHT], nice=False)
    return alt.Axis(title=axis.title, labelExpr=axis.tick, titleAnchor="start", **shown), scale


def _marks(
    base: alt.Chart, shapes: set[str], x_axis: alt.Axis, scale: alt.Scale
) -> list[alt.Chart]:
    """Return the lines and dots, by shape: what masks or is only expected has no dot."""
    import altair as alt

    colour = alt.condition("datum.is_marked", alt.value(RUST), alt.value(BLUE))
    x = alt.X("mid:Q", scale=scale, axis=x_axis)
    low = alt.X("low:Q", scale=scale, axis=x_axis)
    drawn = base.transform_filter("isValid(datum.mid)")
    bars = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    layers = [
        drawn.transform_filter("datum.shape == 'dot' || datum.shape == 'pooled'")
        .mark_rule(strokeWidth=2.5)
        .encode(x=low, x2="high:Q", color=colour),
        drawn.transform_filter("datum.shape == 'dot'")
        .mark_point(size=70, filled=True, opacity=1)
        .encode(x=x, color=colour),
    ]
    # A layer without a mark would be written all the same.
    if "pooled" in shapes:
        diamonds = drawn.transform_filter("datum.shape == 'pooled'")
        layers.append(
            diamonds.mark_point(size=150, filled=True, opacity=1, shape="diamond").encode(
                x=x, color=colour
            )
        )
    if "range" in shapes:
        ranges = bars.transform_filter("datum.shape == 'range'")
        layers.append(
            ranges.mark_rule(strokeWidth=10, strokeOpacity=0.45).encode(
                x=low, x2="high:Q", color=colour
            )
        )
    if "expected" in shapes:
        expected = bars.transform_filter("datum.shape == 'expected'")
        layers.append(
            expected.mark_rule(strokeWidth=2, color=MUTED, strokeDash=[6, 3]).encode(
                x=low, x2="high:Q"
            )
        )
    return layers
