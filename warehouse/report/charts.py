"""Pictures: a Vega-Altair chart becomes SVG that stands in the page and follows its colours.

Colours are written as the light page has them; the page's stylesheet repaints the same values in
the dark, so that a picture taken out of the page is whole too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

#: A picture in Vega-Lite, as Altair has checked it.
Spec = dict[str, Any]

#: Width of every picture, in CSS pixels: read as it is beside its method, and at 390 px too.
WIDTH = 440
INK, MUTED, GRID = "#1f2933", "#52606d", "#d9dee3"
BLUE, RUST, BAND, BAND_DEEP = "#1b5e93", "#b8420f", "#cfe0ef", "#9dc1de"
PAPER = "#fefefe"

_INNER = re.compile(r' (?:role|aria-[a-z]+|pointer-events|xmlns:xlink|version)="[^"]*"')
_SIZE = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")
_IDENT = re.compile(r'(id="|url\(#)(clip\d+|gradient_\d+)')


def svg(spec: Spec, name: str, title: str, description: str) -> str:
    """Return a picture as inline SVG that a screen reader reads by its title and description.

    Args:
        spec: the picture; its data are in it, nothing is fetched.
        name: id of the picture on the page.
        title: what it shows.
        description: the finding in a sentence; the numbers stand in the table below it.
    """
    import vl_convert

    drawn = str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
    drawn = _IDENT.sub(rf"\1{name}-\2", _INNER.sub("", drawn))
    head = (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="{_box(drawn)}" role="img" '
        f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{html.escape(title)}</title>'
        f'<desc id="{name}-d">{html.escape(description)}</desc>'
    )
    return _SIZE.sub(lambda _: head, drawn, count=1)


def _box(drawn: str) -> str:
    match = _SIZE.search(drawn)
    assert match is not None  # noqa: S101 - what vl-convert writes
    return match[1]


def layered(layers: Sequence[alt.Chart], height: float) -> Spec:
    """Return layers as one picture in the page's clothes: no frame, its fonts, quiet axes."""
    import altair as alt

    spec: Spec = (
        alt.layer(*layers)
        .properties(width=WIDTH, height=height)
        .configure(font="system-ui, sans-serif", background="transparent", padding=2, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED,
            titleColor=MUTED,
            gridColor=GRID,
            domain=False,
            ticks=False,
            labelFontSize=13,
            titleFontSize=13,
            titleFontWeight="normal",
            labelPadding=6,
        )
        .to_dict()
    )
    return spec


def data(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """Return a chart over rows, which are written into the picture."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
