"""`dripwatch demo-multisite`: eight invented hospitals, each its own way, and what they tell."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from flows.console import Console, SilentConsole, plural
from flows.coordinate import Round, run_round, show, told
from flows.demo import DEMO_SITE, NIGHTS_DIRT, arrive, clear_demo, demo_site, environment
from flows.forest import forest_text, read_forest
from flows.init import FHIR_SOURCE, SOURCE_EXAMPLE, make_coordinator
from flows.refresh import refresh
from flows.reply import Reply, as_ours
from pipelines.base.errors import DripwatchError, ExitCode
from pipelines.base.files import make_private
from pipelines.base.site import Site
from pipelines.pooling.coordinator import load_coordinator
from pipelines.simulate import Form, Traits, simulate
from warehouse.told import begin_anew

NAMED_SEED = "many"
NIGHTS = 2
#: A refresh keeps a core busy, and takes half a gigabyte.
MOST_AT_ONCE = 2
#: The folder of a late pack at its hospital.
PACK = "pack"
#: What is shown as a forest: an outcome that nearly all may tell, and one that few may.
SHOWN = (("any_side_effect", "risk"), ("hypocalcaemia", "risk"))


@dataclass(frozen=True)
class Hospital:
    """An invented hospital.

    Attributes:
        patients: how many children were infused.
        form: how it delivers.
        traits: its clock, its laboratory, how often its children react.
        min_cell: the smallest count that it tells.
        silent_days: for so long its laboratory has not delivered.
        is_late: its pack comes after the first pooling.
    """

    name: str
    patients: int
    form: Form = "csv"
    traits: Traits = field(default_factory=Traits)
    min_cell: int = 11
    silent_days: int = 0
    is_late: bool = False


#: Their records are closed (docs/decisions/183): else hardly anything may be told beside a fever.
HOSPITALS = (
    Hospital("cedar", 112, traits=Traits("Europe/Berlin", 1.0, 0.9, is_closed=True), min_cell=20),
    Hospital("alder", 72, traits=Traits("America/New_York", 0.0, 1.0, is_closed=True)),
    Hospital("birch", 72, "fhir", Traits("America/Chicago", 0.0, 1.2, is_closed=True)),
    Hospital(
        *("elm", 52, "csv", Traits("America/St_Johns", 1.0, 1.1, is_closed=True)),
        min_cell=5,
        silent_days=92,
    ),
    Hospital("hazel", 48, "fhir", Traits("Asia/Kolkata", 0.0, 1.15, is_closed=True)),
    Hospital("maple", 36, traits=Traits("Europe/London", 1.0, 1.3, is_closed=True), min_cell=5),
    Hospital(
        *("rowan", 31, "csv", Traits("America/New_York", 0.3, 0.85, is_closed=True)),
        min_cell=5,
        is_late=True,
    ),
    Hospital("willow", 18, traits=Traits("America/Chicago", 0.0, 0.7, is_closed=True)),
)


@dataclass(frozen=True)
class Ended:
    """How a hospital's nights ended.

    Attributes:
        name: the hospital's.
        said: how much it may tell.
        seconds: wall-clock time.
        result: what was planted and what was refreshed, JSON-ready.
        exit_code, error: of the night or the pack that failed, as in a `Reply`.
    """

    name: str
    said: str = ""
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    exit_code: ExitCode = ExitCode.OK
    error: dict[str, str | None] | None = None


def run_multisite(
    out: Path,
    *,
    seed: str | None,
    answer: Reply,
    hospitals: Sequence[Hospital] = HOSPITALS,
    nights: int = NIGHTS,
    at_once: int = min(MOST_AT_ONCE, os.cpu_count() or 1),
) -> None:
    """Invent hospitals under `out`, run their nights, export their packs, pool them.

    A hospital that fails ends the command as it ended, and nothing is pooled.

    Errors:
        UsageError: the folder holds something that is no demo.
        PackError: the packs cannot be pooled.
    """
    console = answer.console
    clear_demo(out)
    make_coordinator(out, [one.name for one in hospitals])
    (out / "hospitals").mkdir()
    _introduce(hospitals, nights, at_once, console)
    one = partial(run_hospital, out, seed=seed or NAMED_SEED, nights=nights)
    ended: list[Ended] = []
    # In this process and its children: a server of the user's own is not asked.
    with environment("PREFECT_API_URL", ""), _each(one, hospitals, at_once) as found:
        for last in found:
            ended.append(last)
            if last.error is not None:
                answer.exit_code, answer.error = last.exit_code, last.error
                answer.message = str(last.error["what"])
                return
            console.say(f"{last.name}: {last.seconds:.0f} s; {last.said}")
    rounds = _pool(out, hospitals, console)
    answer.exit_code, answer.message = rounds[-1].exit_code, rounds[-1].message
    answer.result = {
        "hospitals": [one.result for one in ended],
        "rounds": [told(one) for one in rounds],
    }
    _show(out, console)


def _introduce(hospitals: Sequence[Hospital], nights: int, at_once: int, console: Console) -> None:
    rows = [
        [
            *(one.name, str(one.patients), one.form, one.traits.zone),
            {0.0: "mg/dL", 1.0: "mmol/L"}.get(one.traits.si_share, "both"),
            str(one.min_cell),
        ]
        for one in hospitals
    ]
    header = ["hospital", ">children", "format", "clocks", "calcium", ">threshold"]
    console.table("", header, rows)
    console.say(
        f"SYNTHETIC: {plural(len(hospitals), 'invented hospital')}, "
        f"{plural(nights, 'night')} each, {at_once} at a time"
    )


@contextmanager
def _each(
    one: partial[Ended], hospitals: Sequence[Hospital], at_once: int
) -> Iterator[Iterator[Ended]]:
    """Run hospitals in processes of their own, as many at once; yield how they ended, in order."""
    if at_once == 1:
        yield map(one, hospitals)
        return
    # Spawned: a forked copy of our threads' locks could hang.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(at_once, spawn, initializer=_end_with_parent) as pool:
        try:
            yield pool.map(one, hospitals)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()


def _end_with_parent() -> None:
    """Leave ctrl-C to the parent, and end in order when it ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def run_hospital(out: Path, hospital: Hospital, *, seed: str, nights: int) -> Ended:
    """Invent a hospital, run its nights, hand over its public key and make its pack."""
    began = time.monotonic()
    try:
        result = _run_hospital(out, hospital, f"{seed}/{hospital.name}", nights)
    except Exception as error:  # told by the parent, as the command's own would be
        return _failed(hospital, as_ours(error))
    facts = result["pack"]["facts"]
    rows = facts["n_rows"]["signals.counts"]
    said = f"{rows['told']:,} rows of counts may be told, {rows['masked']:,} are masked"
    return Ended(hospital.name, said, time.monotonic() - began, result)


def _failed(hospital: Hospital, error: DripwatchError) -> Ended:
    failed = Reply("", SilentConsole())
    failed.fail(error)
    assert failed.error is not None  # noqa: S101 - `fail` sets it
    what = f"{hospital.name}: {failed.error['what']}"
    return Ended(hospital.name, exit_code=failed.exit_code, error={**failed.error, "what": what})


class HeldError(DripwatchError):
    """A night of an invented hospital was held: what would be pooled is not what was planted."""

    exit_code = ExitCode.HELD


def _run_hospital(out: Path, hospital: Hospital, seed: str, nights: int) -> dict[str, Any]:
    from flows.export import export, export_key

    root = out / "hospitals" / hospital.name
    site, told = refreshed(root, hospital, seed, nights)
    quiet = Reply("", SilentConsole())
    export_key(site.config_path, out / "keys", quiet)
    pack = root / PACK if hospital.is_late else out / "inbox" / hospital.name
    export(site.config_path, pack, quiet, is_preview=False)
    return {**told, "pack": quiet.result}


def refreshed(
    root: Path, hospital: Hospital, seed: str, nights: int
) -> tuple[Site, dict[str, Any]]:
    """Invent a hospital and run its nights; return its site and what there is to tell.

    Errors:
        HeldError: a night was held.
        DripwatchError: a night failed.
    """
    summary = simulate(
        hospital.patients,
        seed,
        nights,
        NIGHTS_DIRT,
        root / "hospital",
        form=hospital.form,
        silent_days=hospital.silent_days,
        traits=hospital.traits,
    )
    make_private(root / "restricted")
    site = _site(root, hospital, seed)
    results = []
    for delivery in sorted((root / "hospital" / "deliveries").iterdir()):
        arrive(site, delivery)
        # Figures stay as pages told them first; nobody sees those of earlier nights.
        begin_anew(site)
        result = refresh(site, console=SilentConsole())
        results.append(result.to_json())
        if result.held:
            raise HeldError(
                f"{delivery.name} is held: too many of its rows were rejected.",
                where=str(site.config_path),
                remedy="`dripwatch quarantine list` tells why.",
            )
    return site, {"hospital": asdict(summary), "nights": results}


def _site(root: Path, hospital: Hospital, seed: str) -> Site:
    site = {**DEMO_SITE["site"], "id": hospital.name, "zone": hospital.traits.zone}
    settings = {**DEMO_SITE, "site": site, "privacy": {"min_cell": hospital.min_cell}}
    source = FHIR_SOURCE if hospital.form == "fhir" else SOURCE_EXAMPLE
    return demo_site(root, seed, settings, source)


def _pool(out: Path, hospitals: Sequence[Hospital], console: Console) -> list[Round]:
    """Pool the packs that are there, and again when the late ones have come."""
    coordinator = load_coordinator(out)
    rounds = [run_round(coordinator, is_now=True)]
    console.say("")
    show(rounds[0], console)
    late = [one.name for one in hospitals if one.is_late]
    if late:
        for name in late:
            (out / "hospitals" / name / PACK).rename(out / "inbox" / name)
        rounds.append(run_round(coordinator))
        console.say(f"\nThe pack of {', '.join(late)} has come. {rounds[1].message}")
    return rounds


def _show(out: Path, console: Console) -> None:
    for outcome, window in SHOWN:
        console.say("\n" + forest_text(read_forest(out / "pooled.duckdb", outcome, window)))
    console.say(
        "\nWhere to look next:\n"
        f'  dripwatch sql {out}/pooled.duckdb "from pooled.site"\n'
        f"  dripwatch coordinate --config {out}    nothing new, and says so\n"
        f"  dripwatch export --config {out}/hospitals/cedar --preview  what left\n"
        f"  {out}/pooled.html                      the same, for a browser\n"
        f"  {out}/hospitals/*/report/index.html    each hospital's own report\n"
        f"  {out}/hospitals/*/truth/               what was planted"
    )
