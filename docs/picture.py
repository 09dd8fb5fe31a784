"""Draw docs/risks.svg, the picture of the README, from a demo's warehouse.

`python docs/picture.py build/demo/warehouse.duckdb`; a test compares the picture with the numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from warehouse.query import run_query

QUERY = """
SELECT o.label, r.stratum_value, r.n_events, r.n_units, r.risk, r.ci_low, r.ci_high
FROM signals.risk AS r JOIN reference.outcome AS o USING (study_id, outcome)
WHERE r.is_headline AND r.window_name = 'risk' AND r.stratum = 'ordinal'
ORDER BY max(r.risk) OVER (PARTITION BY r.outcome) DESC, r.outcome, r.stratum_value
"""
WIDTH, LEFT, RIGHT, TOP, STEP = 860, 330, 700, 64, 24
SCALE_PERCENT = 40

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2933 }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 12px; fill: #52606d }
  .grid { stroke: #d9dee3 } .first { stroke: #b8420f; fill: #b8420f }
  .later { stroke: #1b5e93; fill: #1b5e93 } line { stroke-width: 2 } .grid { stroke-width: 1 }
  .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb } .small { fill: #9aa5b1 } .grid { stroke: #3e4c59 }
    .page { fill: #14191f } .first { stroke: #f0884f; fill: #f0884f }
    .later { stroke: #6cb0e6; fill: #6cb0e6 }
  }
"""


def at(risk: float) -> float:
    """Horizontal place of a risk."""
    return round(LEFT + (RIGHT - LEFT) * risk * 100 / SCALE_PERCENT, 1)


def row_svg(row: tuple[Any, ...], y: int, *, with_label: bool) -> str:
    """One dot with its interval, and its counts in words."""
    label, stratum, n_events, n_units, risk, low, high = row
    name = label.split(",")[0].split(":")[0]
    parts = [f'<text x="20" y="{y + 4}">{name}</text>'] if with_label else []
    parts += [
        f'<text class="small" x="250" y="{y + 4}">{stratum}</text>',
        f'<line class="{stratum}" x1="{at(low)}" x2="{at(high)}" y1="{y}" y2="{y}"/>',
        f'<circle class="{stratum}" cx="{at(risk)}" cy="{y}" r="4"/>',
        f'<text class="small" x="{RIGHT + 14}" y="{y + 4}">{100 * risk:.1f} % '
        f"({n_events} of {n_units})</text>",
    ]
    return "".join(parts)


def picture(rows: list[tuple[Any, ...]]) -> str:
    """Return the whole SVG."""
    height = TOP + STEP * len(rows) + 44
    bottom = TOP + STEP * len(rows)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Risk of each outcome within 72 hours after first and later infusions">',
        f'<style>{STYLE}</style><rect class="page" width="{WIDTH}" height="{height}"/>',
        '<text class="title" x="20" y="28">Side effects within 72 h, after first and later '
        "infusions in the record</text>",
        '<text class="small" x="20" y="46">SYNTHETIC hospital of `make demo`; bars are 95 % '
        "intervals that know that infusions cluster in children</text>",
    ]
    for percent in range(0, SCALE_PERCENT + 1, 10):
        x = at(percent / 100)
        lines.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP - 8}" y2="{bottom}"/>')
        lines.append(
            f'<text class="small" x="{x}" y="{bottom + 18}" text-anchor="middle">{percent} %</text>'
        )
    for place, row in enumerate(rows):
        is_new = place == 0 or rows[place - 1][0] != row[0]
        lines.append(row_svg(row, TOP + STEP * place + 8, with_label=is_new))
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    """Draw the picture of the warehouse that the command line names."""
    rows = [tuple(row) for row in run_query(Path(sys.argv[1]), QUERY).rows]
    (Path(__file__).parent / "risks.svg").write_text(picture(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
