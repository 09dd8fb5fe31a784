"""Runs of the deployed flow in which a library fails deep inside each stage.

`python -m tests.functional.deep_failures SITE.TOML` in a process of its own, since Prefect reads
its settings from the environment; standard input has the planted values. Every failure quotes
them, as that library does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BytesIO
from typing import Any, NoReturn
from unittest.mock import patch


def duckdb_fails(text: str) -> NoReturn:
    """Fail as DuckDB does at a value that is no number."""
    import duckdb

    duckdb.execute("SELECT CAST(? AS INTEGER)", [f"x{text}"])
    raise AssertionError


def arrow_fails(text: str) -> NoReturn:
    """Fail as Arrow does at a value that is no number."""
    import pyarrow as pa

    pa.array([f"x{text}"]).cast(pa.int64())
    raise AssertionError


def polars_fails(text: str) -> NoReturn:
    """Fail as Polars does at a value that is no number."""
    import polars as pl

    pl.Series([f"x{text}"]).cast(pl.Int64)
    raise AssertionError


def avro_fails(text: str) -> NoReturn:
    """Fail as fastavro does at a record that does not fit its schema."""
    import fastavro
    from fastavro.validation import validate

    fields = [{"name": "value", "type": "long"}]
    schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})
    validate({"value": text}, schema, raise_errors=True)
    fastavro.writer(BytesIO(), schema, [{"value": text}])
    raise AssertionError


def gx_fails(text: str) -> NoReturn:
    """Fail as Great Expectations does: an error of its own, led to by a database's."""
    from great_expectations.exceptions import MetricResolutionError

    try:
        duckdb_fails(text)
    except Exception as error:
        raise MetricResolutionError(message=str(error), failed_metrics=(text,)) from error


def system_fails(text: str) -> NoReturn:
    """Fail as an operating system does at a file that is named after a patient."""
    open(f"/no/such/{text}.csv")  # noqa: SIM115, PTH123 - fails
    raise AssertionError


def json_fails(text: str) -> NoReturn:
    """Fail as the decoder of JSON does; it keeps the whole text (`doc`)."""
    json.loads(f'{{"patient": "{text}" "')
    raise AssertionError


#: By stage: the deep function that fails, and how. Of `link` it is inside a worker of Beam.
DEEP: dict[str, tuple[str, str, Callable[[str], NoReturn]]] = {
    "recover": ("warehouse.store", "Store.apply_missing", duckdb_fails),
    "discover": ("flows.stages", "find_deliveries", system_fails),
    "extract": ("flows.stages", "n_candidates", polars_fails),
    "validate": ("expectations.suites", "_validate", gx_fails),
    "commit": ("schemas.codec", "_encode", avro_fails),
    "store": ("warehouse.store", "Store.load_reference", arrow_fails),
    "link": ("pipelines.linkage.kernel", "_write", duckdb_fails),
    "signals": ("warehouse.store", "Store.load_linkage", polars_fails),
    "look": ("flows.looks", "_pairs", json_fails),
    "publish": ("warehouse.publish", "_fill", duckdb_fails),
    "announce": ("flows.announce", "synchronise", arrow_fails),
    "report": ("flows.stages", "write_page", json_fails),
}


@contextmanager
def failing(stage: str, text: str) -> Iterator[list[str]]:
    """Let a stage fail inside; lend the list of messages with which it did."""
    module, name, fail = DEEP[stage]
    owner: Any = import_module(module)
    *outer, last = name.split(".")
    for one in outer:
        owner = getattr(owner, one)
    told: list[str] = []

    def broken(*_arguments: object, **_named: object) -> NoReturn:
        try:
            fail(text)
        except Exception as error:
            told.append(f"{error} {vars(error)}")
            raise

    with patch.object(owner, last, broken):
        yield told


def say(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(config: str, planted: list[str]) -> None:
    """Run the flow once for each stage, then the command, then the flow as it should be."""
    from typer.testing import CliRunner

    from flows.cli import app
    from flows.deployed import refresh

    text = " ".join(planted)
    for stage in DEEP:
        with failing(stage, text) as told:
            state = refresh(config, return_state=True)
        is_quoted = any(planted[0] in one for one in told)
        say(f"FAILED {json.dumps([stage, state.name, is_quoted])} {state.message}")
        with suppress(Exception):
            state.result()
    with failing("recover", text):
        done = CliRunner().invoke(app, ["refresh", "-c", config, "--json"])
    say(done.output)
    say(f"ENDED {refresh(config, return_state=True).name}")


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.read().split())
