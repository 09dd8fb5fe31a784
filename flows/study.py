"""`dripwatch study`: what is wrong with a study definition, and what it says."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from flows.reply import Reply, UsageError
from pipelines.base.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from studies.load import Study

WIDTH = 80
#: Narrower, a timeline has no room; wider, a sentence is hard to read.
NARROWEST, WIDEST = 64, 120
_AMOUNT = re.compile(r"(\d) (h|min|days?|%)\b")


def check(path: str, answer: Reply) -> None:
    """Load a study and say what is wrong with it, or what is in it."""
    from studies.load import load_study

    try:
        # The command line's paths start at the working folder, unlike those in site.toml.
        study = load_study(path, Path.cwd())
    except ConfigError as error:
        answer.fail(error)
        answer.exit_code = ExitCode.PROBLEMS
        told = error.what.splitlines()
        answer.result = {"is_right": False, "mistakes": [one.strip() for one in told[1:]] or told}
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


def explain(path: str, svg: Path | None, answer: Reply) -> None:
    """Say a study in sentences and draw its windows.

    Errors:
        ConfigError: the study is wrong.
        UsageError: the picture's name is not that of a picture.
        StorageError: the picture cannot be written.
    """
    from studies.effectiveness import effectiveness_sentences
    from studies.load import load_study
    from studies.sentences import about, outcome_sentences
    from studies.surveillance_sentences import surveillance_sentences
    from studies.timeline import as_svg, as_text

    study = load_study(path, Path.cwd())
    if svg is not None:
        _refuse_other_files(svg)
    answer.result = {
        "study_id": study.id,
        "study_hash": study.study_hash,
        "title": study.model.study.title,
        "version": study.model.study.version,
        "about": about(study),
        "outcomes": [
            {
                "outcome": one.name,
                "label": one.label,
                "is_published": one.publish,
                "sentences": outcome_sentences(study, one),
            }
            for one in study.model.outcome
        ],
        "surveillance": surveillance_sentences(study.model),
        "effectiveness": effectiveness_sentences(study.model),
        "timeline": as_text(study).splitlines(),
    }
    answer.message = f"The study {study.id}, version {study.model.study.version}."
    if not answer.as_json:
        answer.console.say(page(study, width=page_width()))
    if svg is not None:
        from pipelines.base.files import write_durably

        write_durably(svg, as_svg(study).encode())
        answer.result["svg"] = str(svg)
        answer.console.say(f"\nThe timeline is in {svg}.")


def _refuse_other_files(svg: Path) -> None:
    """Let a picture replace a picture and nothing else: no study, no device."""
    wrong = ""
    if svg.suffix.lower() != ".svg":
        wrong = "The picture's name does not end in .svg."
    elif not svg.parent.is_dir():
        wrong = f"There is no folder {svg.parent}."
    elif svg.is_symlink() or (svg.exists() and not svg.is_file()):
        wrong = f"{svg} is there already, and is no plain file."
    if wrong:
        raise UsageError(wrong, remedy="Write `--svg windows.svg`, say; nothing was written.")


def page_width() -> int:
    """Return the columns of the terminal (`COLUMNS`, where it is set), within limits."""
    return min(max(shutil.get_terminal_size((WIDTH, 24)).columns, NARROWEST), WIDEST)


def page(study: Study, *, with_hash: bool = True, width: int = WIDTH) -> str:
    """Return a study as text of so many columns."""
    from studies.effectiveness import effectiveness_sentences
    from studies.sentences import about, outcome_sentences
    from studies.surveillance_sentences import surveillance_sentences
    from studies.timeline import LOOKED_AT, as_text

    head = study.model.study
    title = f"{head.title} ({study.id}, version {head.version})"
    parts = [_filled(title, width), "", "WHO COUNTS"]
    parts += [_filled(one, width, 2) for one in about(study)]
    parts += ["", "OUTCOMES"]
    for one in study.model.outcome:
        unpublished = "" if one.publish else " Read by composites, not published."
        parts += [
            _filled(f"{one.name}: {one.label}.{unpublished}", width, 2),
            _filled(" ".join(outcome_sentences(study, one)), width, 4),
            "",
        ]
    parts.append("SURVEILLANCE")
    parts += [_filled(one, width, 2) for one in surveillance_sentences(study.model)]
    parts += ["", "BEFORE AND AFTER"]
    parts += [_filled(one, width, 2) for one in effectiveness_sentences(study.model)]
    note = _filled(f"Edges in order, not to scale. {LOOKED_AT}", width, 2)
    parts += ["", "WINDOWS", note, "", as_text(study, width)]
    if with_hash:
        parts += ["", _filled(f"study hash {study.study_hash}", width)]
    return "\n".join(parts)


def _filled(text: str, width: int, indent: int = 0) -> str:
    # An amount and its unit stay on one line.
    filled = textwrap.fill(
        _AMOUNT.sub("\\1\N{NO-BREAK SPACE}\\2", text),
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2 if indent == 2 else indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace("\N{NO-BREAK SPACE}", " ")
