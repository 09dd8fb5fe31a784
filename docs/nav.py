"""A hook of MkDocs: the list of decision records, so that nobody has to write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HEAD = "# Decisions\n\nWhy not the obvious? A record for each place where a reader would ask.\n\n"


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401 - MkDocs' own, untyped
    """Add decisions/index.md, a line for each record."""
    folder = Path(config["docs_dir"]) / "decisions"
    lines = [
        f"- [{path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}]({path.name})"
        for path in sorted(folder.glob("[0-9]*.md"))
    ]
    page = File.generated(config, "decisions/index.md", content=HEAD + "\n".join(lines) + "\n")
    files.append(page)
    return files
