"""Generated pages about rules: every key of a study, and every check."""

from __future__ import annotations

from typing import get_args

from pydantic import BaseModel

#: What stands for an event type where a check is about none.
_NOT_TYPES = {"*": "any row", "~": "a batch"}


def study_page() -> str:
    """Return the page of every key of study.toml and of the files beside it."""
    from flows.reference import NOTE, cell, first_line, models_within, table_of
    from flows.study import page
    from studies.limit_tables import CUT_COLUMNS, NORMAL_COLUMNS, VITAL_COLUMNS
    from studies.load import CODELIST_COLUMNS, load_study
    from studies.model import StudyModel
    from studies.published import PUBLISHED_COLUMNS

    parts = [
        "# Study",
        NOTE,
        "A study is a folder: study.toml, `codelists/*.csv`, `limits/*.csv` and `published.csv`: "
        "what others have published, for `signals.benchmark`. What each setting "
        "does to a window is in [the window rules](../windows.md). `dripwatch study check PATH` "
        "names every mistake. `studies/iv_bisphosphonate` is a whole example. The settings in "
        "force, defaults included, are stored with the results: "
        "`select settings_json from reference.study`.",
    ]
    for head, model in models_within(StudyModel):
        name = f"outcome, kind `{kind}`" if (kind := _kind_of(model)) else head
        parts += [f"## {name}", first_line(model), table_of(model)]
    files = (
        ("`codelists/*.csv`", CODELIST_COLUMNS),
        ("`limits/`, named by `cuts`", CUT_COLUMNS),
        ("`limits/`, named by `normal_limits`", NORMAL_COLUMNS),
        ("`limits/`, named by `limits`", VITAL_COLUMNS),
        ("`published.csv`, may be left out", PUBLISHED_COLUMNS),
    )
    rows = [f"| {file} | {cell(', '.join(f'`{one}`' for one in names))} |" for file, names in files]
    parts += [
        "## The CSV files",
        "Lines that start with `#` are comments. In `published.csv` a risk as printed is the "
        "interval that it stands for (7 %: `value` 0.07, `low` 0.065, `high` 0.075); what was not "
        "published stays empty; `is_derived` marks events, units or risks that were worked out.",
        "\n".join(["| file | columns |", "|---|---|", *rows]),
        "## The shipped study in sentences",
        "What `dripwatch study explain iv_bisphosphonate` prints; it does the same for any study.",
        f"```\n{page(load_study('iv_bisphosphonate'), with_hash=False).rstrip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _kind_of(model: type[BaseModel]) -> str | None:
    """Return which kind of outcome a model is, if it is one."""
    info = model.model_fields.get("kind")
    told = get_args(info.annotation) if info else ()
    return str(told[0]) if len(told) == 1 else None


def checks_page() -> str:
    """Return the page of checks that every row meets."""
    from expectations.table import checks
    from flows.reference import NOTE, cell

    lines = [
        "# Checks",
        "",
        NOTE,
        "",
        "Every row meets the checks of its event type. `reject`: the row is quarantined; `warn`: "
        "it is accepted, flagged with the check's name and counted; `info`: it is counted. "
        "`quality.check_result` holds the counts of each batch. Checks of a batch compare what it "
        "is the first to cover with the 28 days before: they reject and flag nothing, "
        "`quality.drift` says what differed, and `[feeds] hold_on` can hold the batch.",
        "",
        "| check | severity | column | category | event types | why |",
        "|---|---|---|---|---|---|",
    ]
    for one in checks():
        types = _NOT_TYPES.get(one.types[0]) or ", ".join(one.types)
        cells = [f"`{one.id}`", one.severity, f"`{one.column}`", one.category, types, one.note]
        lines.append(f"| {' | '.join(cell(text) for text in cells)} |")
    return "\n".join(lines) + "\n"
