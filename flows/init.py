"""`dripwatch init`: the folder of a new site or coordinator, made from the models that read it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.reply import UsageError
from pipelines.base.files import make_private
from pipelines.base.site import Site
from pipelines.pooling.coordinator import Coordinator

WIDTH = 96

#: What `init` writes as settings in force: what has no default, and what must never be in doubt.
EXAMPLES: dict[str, dict[str, Any]] = {
    "site": {
        "id": "my-hospital",
        "zone": "Europe/Berlin",
        "studies": ["iv_bisphosphonate"],
        "row_level": "none",
    },
    "privacy": {"min_cell": 11},
}
SOURCE_EXAMPLE = {"name": "ehr", "mapping": "mapping.toml", "path": "inbox"}
FHIR_SOURCE = {"name": "ehr", "kind": "fhir", "mapping": "fhir.toml", "path": "inbox"}


def site_toml(
    values: Mapping[str, Mapping[str, Any]] | None = None,
    sources: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Return a whole site.toml: each setting with its meaning; defaults are commented out.

    Args:
        values: settings by table and name that are written as given.
        sources: the `[[source]]` tables; by default one example.
    """
    return _whole_toml(
        Site,
        "Settings of one site",
        "site",
        values or EXAMPLES,
        {"source": sources or [SOURCE_EXAMPLE]},
    )


def coordinator_toml(sites: Sequence[str] = ("north", "south")) -> str:
    """Return a whole coordinator.toml, as `site_toml` does."""
    values = {"coordinator": {"id": "my-network", "sites": list(sites)}}
    return _whole_toml(Coordinator, "Settings of a coordinator", "coordinator", values, {})


def _whole_toml(
    settings: type[BaseModel],
    title: str,
    page: str,
    values: Mapping[str, Mapping[str, Any]],
    repeated: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """Return a whole configuration; `repeated` are the tables that may be there many times."""
    blocks = [
        f"# {title}. Lines that start with `# name =` show the default in force.\n"
        f"# Relative paths start at this folder. Reference: docs/reference/{page}.md"
    ]
    for name, info in settings.model_fields.items():
        if info.exclude:
            continue
        model = table_model(info)
        if get_origin(info.annotation) is list:
            blocks += [_table(name, model, one, "[[{}]]") for one in repeated.get(name, ())]
        else:
            blocks.append(_table(name, model, values.get(name, {}), "[{}]"))
    return "\n\n".join(blocks) + "\n"


def table_model(info: FieldInfo) -> type[BaseModel]:
    """Return the model of a table of site.toml, also where the table may be repeated."""
    kind = info.annotation
    if get_origin(kind) is list:
        kind = get_args(kind)[0]
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise TypeError(kind)
    return kind


def _table(name: str, model: type[BaseModel], values: Mapping[str, Any], bracket: str) -> str:
    lines = [*_comment(_first_line(model)), bracket.format(name)]
    for key, info in model.model_fields.items():
        lines += _comment(info.description or "")
        if key in values:
            lines.append(f"{key} = {toml_value(values[key])}")
        elif info.is_required():
            raise KeyError(f"{name}.{key}")
        else:
            lines.append(_default_line(key, info))
    return "\n".join(lines)


def _default_line(key: str, info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True)
    return f"# {key} = (not set)" if default is None else f"# {key} = {toml_value(default)}"


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def toml_value(value: Any) -> str:  # noqa: ANN401 - any setting
    """Return a setting's value as TOML on one line."""
    import tomlkit

    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return str(tomlkit.item(value).as_string())


def make_site(folder: Path, kind: Literal["flat", "fhir"] = "flat") -> list[Path]:
    """Make the folder of a new site, with one source of a kind, and return what was made.

    Errors:
        UsageError: something that would be made is already there; nothing is written then.
    """
    from pipelines.base.keys import new_key

    source = FHIR_SOURCE if kind == "fhir" else SOURCE_EXAMPLE
    mapping = folder / source["mapping"]
    targets = {
        folder / "site.toml": (site_toml(sources=[source]), 0o644),
        mapping: (mapping_example(mapping.name), 0o644),
        folder / "restricted" / "site.key": (new_key() + "\n", 0o600),
    }
    _refuse_old(targets)
    folder.mkdir(parents=True, exist_ok=True)
    make_private(folder / "restricted")
    (folder / "inbox").mkdir(exist_ok=True)
    for path, (text, mode) in targets.items():
        write_new(path, text, mode)
    return [folder / "inbox", *targets]


def make_coordinator(folder: Path, sites: Sequence[str] = ("north", "south")) -> list[Path]:
    """Make the folder of a coordinator, and return what was made.

    Errors:
        UsageError: there is one already; nothing is written then.
    """
    config = folder / "coordinator.toml"
    _refuse_old([config])
    folders = [folder / "inbox", folder / "keys"]
    for one in folders:
        one.mkdir(parents=True, exist_ok=True)
    write_new(config, coordinator_toml(sites), 0o644)
    return [*folders, config]


def _refuse_old(paths: Iterable[Path]) -> None:
    if there := [path for path in paths if path.exists() or path.is_symlink()]:
        raise UsageError(
            "A site, or a coordinator, is already there, and nothing of it is overwritten.",
            where=", ".join(str(path) for path in there),
            remedy="Name a new folder.",
        )


def write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that must not exist yet, from the start with its mode (a key is never open)."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        os.fchmod(handle, mode)
        stream.write(text)


def mapping_example(name: str = "mapping.toml") -> str:
    """Return a commented example of a mapping that comes with the package."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
