"""A marimo notebook over a published warehouse: `make notebook`.

It reads `build/demo/warehouse.duckdb`, or the file that DRIPWATCH_WAREHOUSE names. What it shows is
not masked: it stays at the site.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Dripwatch warehouse")


@app.cell
def _():
    import os

    import altair as alt
    import duckdb
    import marimo as mo

    path = os.environ.get("DRIPWATCH_WAREHOUSE", "build/demo/warehouse.duckdb")
    con = duckdb.connect(path, read_only=True)
    return alt, con, mo


@app.cell
def _(con, mo):
    fresh = con.sql("from analysis.freshness").pl().row(0, named=True)
    mo.md(
        f"""
        # {"SYNTHETIC: " if fresh["is_synthetic"] else ""}site {fresh["site_id"]}

        Published {fresh["published_at"]:%Y-%m-%d %H:%M} UTC, every feed complete to
        {fresh["data_through_at"]}; stale: {", ".join(fresh["stale_feeds"]) or "none"}.
        """
    )
    return


@app.cell
def _(con, mo):
    outcomes = con.sql(
        "select distinct label, outcome from analysis.risk order by label"
    ).fetchall()
    strata = [name for (name,) in con.sql("select distinct stratum from analysis.risk").fetchall()]
    outcome = mo.ui.dropdown(dict(outcomes), value=outcomes[0][0], label="Outcome")
    stratum = mo.ui.dropdown(sorted(strata), value="ordinal", label="Divided by")
    mo.hstack([outcome, stratum], justify="start")
    return outcome, stratum


@app.cell
def _(con, outcome, stratum):
    risks = con.execute(
        """
        select window_name, stratum_value, n_events, n_units, n_patients, risk_percent,
            ci_low_percent, ci_high_percent, in_words, array_to_string(cautions, '; ') as cautions
        from analysis.risk where outcome = ? and stratum = ?
        """,
        [outcome.value, stratum.value],
    ).pl()
    return (risks,)


@app.cell
def _(alt, mo, risks):
    chart = alt.Chart(risks).encode(y=alt.Y("stratum_value:N", title=None))
    interval = chart.mark_rule().encode(
        x=alt.X("ci_low_percent:Q", title="risk, % of units, with its 95 % interval"),
        x2="ci_high_percent:Q",
    )
    dot = chart.mark_point(filled=True, size=60).encode(
        x="risk_percent:Q", tooltip=["in_words", "cautions"]
    )
    figure = (interval + dot).facet(row=alt.Row("window_name:N", title="window"))
    mo.ui.altair_chart(figure)
    return (figure,)


@app.cell
def _(mo, risks):
    mo.ui.table(risks, selection=None)
    return


@app.cell
def _(con, mo, outcome):
    # By hand, from the rows of units: the same counts. Empty where row_level is none.
    units = con.execute(
        """
        select status, count(*) as n_units, any_value(meaning) as meaning
        from analysis.unit_outcome
        join reference.term on kind = 'status' and term = status
        where outcome = ? and window_name = 'risk'
        group by status order by n_units desc
        """,
        [outcome.value],
    ).pl()
    mo.vstack([mo.md("## What became of the units"), mo.ui.table(units, selection=None)])
    return (units,)


if __name__ == "__main__":
    app.run()
