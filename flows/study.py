"""`dripwatch study check`: every mistake of a study definition, explained."""

from __future__ import annotations

from pathlib import Path

from flows.reply import Reply
from pipelines.base.errors import ConfigError, ExitCode


def check(path: str, answer: Reply) -> None:
    """Load a study and say what is wrong with it, or what is in it."""
    from studies.load import load_study

    try:
        # The command line's paths start at the working folder, unlike those in site.toml.
        study = load_study(path, Path.cwd())
    except ConfigError as error:
        answer.fail(error)
        answer.exit_code = ExitCode.PROBLEMS
        answer.result = {"is_right": False, "mistakes": error.what.splitlines()}
        return
    tables = study.reference_tables()
    counts = {name: len(rows) for name, rows in tables.items()}
    answer.result = {
        "is_right": True,
        "study_id": study.id,
        "study_hash": study.study_hash,
        "counts": counts,
        "mistakes": [],
    }
    answer.message = f"The study {study.id} is right."
    answer.console.say(answer.message)
    rows = [[name, str(count)] for name, count in counts.items() if name != "study"]
    answer.console.table("", ["what", ">rows"], rows)
    answer.console.say(f"study hash {study.study_hash}")
