"""The synthetic hospital as FHIR bulk exports: the flat files' rows, told as R4 resources."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zoneinfo
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.simulate import Traits, simulate

Row = dict[str, str]
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
PATIENTS, NIGHTS, DIRT = 35, 3, 0.1
FILES = {
    "patients": ["Patient"],
    "encounters": ["Encounter"],
    "medications": ["MedicationAdministration", "MedicationStatement"],
    "labs": ["Observation.laboratory"],
    "vitals": ["Observation.vital-signs"],
    "dxa": ["Observation.dxa"],
    "diagnoses": ["Condition"],
    "adverse_events": ["AdverseEvent"],
}
ABSOLUTE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|-0[45]:00)$")
#: Members that JSON must tell as numbers, whatever a CSV would hold.
NUMBERS = {"value", "valueInteger"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("both")
    simulate(PATIENTS, "both", NIGHTS, DIRT, root / "csv", form="csv")
    simulate(PATIENTS, "both", NIGHTS, DIRT, root / "fhir", form="fhir")
    return {"csv": root / "csv", "fhir": root / "fhir"}


def nights(out: Path) -> list[Path]:
    return sorted((out / "deliveries").iterdir())


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def read_csv(path: Path) -> list[Row]:
    return list(csv.DictReader(lines(path)))


def resources(path: Path) -> list[dict[str, Any] | None]:
    return [parsed(line) for line in lines(path)]


def parsed(line: str) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return told


def whole(out: Path) -> Iterator[dict[str, Any]]:
    for path in (out / "deliveries").rglob("*.ndjson"):
        yield from (one for one in resources(path) if one is not None)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every node with its path; lists count as one step without a name."""
    yield path, value
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, f"{path}.{name}")
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member, f"{path}[]")


def test_truth_does_not_hang_on_the_format(made: dict[str, Path]) -> None:
    for name in ("unit.csv", "unit_outcome.csv", "risk.csv"):
        texts = [(out / "truth" / name).read_bytes() for out in made.values()]
        assert texts[0] == texts[1]


def test_the_same_dirt_is_planted_but_for_repeated_withdrawals(made: dict[str, Path]) -> None:
    told = {
        form: Counter(
            (row["night"], row["kind"], row["event_type"], row["fate"])
            for row in read_csv(out / "truth" / "fate.csv")
        )
        for form, out in made.items()
    }
    repeated = 0
    for night in nights(made["csv"]):
        gone = [row for row in lines(night / "medications.csv") if ",deleted," in row]
        repeated += sum(n - 1 for n in Counter(gone).values())
    assert not told["fhir"] - told["csv"]
    assert (told["csv"] - told["fhir"]).total() == repeated


def test_manifests_list_every_file_with_its_count(made: dict[str, Path]) -> None:
    for plain, night in zip(nights(made["csv"]), nights(made["fhir"]), strict=True):
        manifest = json.loads((night / "manifest.json").read_text())
        told = {
            item["url"].rsplit("/", 1)[1]: (item["type"], item["count"])
            for item in manifest["output"] + manifest["deleted"]
        }
        found = {}
        for path in night.glob("*.ndjson"):
            kind = "Bundle" if path.stem == "deleted" else path.stem.partition(".")[0]
            found[path.name] = (kind, len(lines(path)))
        assert told == found
        assert manifest["error"] == []
        assert manifest["requiresAccessToken"] is False
        through = re.search(r"default = (\S+)", (plain / "delivery.toml").read_text())
        assert through
        assert manifest["transactionTime"] == through.group(1)


def test_no_member_is_null_or_empty_and_no_time_is_naive(made: dict[str, Path]) -> None:
    n_times = 0
    for resource in whole(made["fhir"]):
        for path, value in leaves(resource):
            assert value not in (None, "", {}, []), path
            if isinstance(value, str) and re.match(r"^\d{4}-\d\d-\d\d[T ]", value):
                assert ABSOLUTE.match(value), path
                n_times += 1
            if path.rpartition(".")[2] in NUMBERS and not path.endswith("identifier[].value"):
                assert isinstance(value, int | float), path
    assert n_times > 1000


def instant(local: str) -> datetime | str | None:
    """Read a wall clock by the standard library; the doubled hour is the first of the two."""
    if not local:
        return None
    try:
        return datetime.fromisoformat(local).replace(tzinfo=NEW_YORK).astimezone(UTC)
    except ValueError:
        return "unreadable"


def day_or_instant(local: str) -> datetime | str | None:
    return instant(local) if " " in local else local


def told_instant(text: str | None) -> datetime | str | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return "unreadable"


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns", "Europe/Berlin"])
def test_another_hospital_s_times_have_the_offset_of_its_clocks(zone: str, tmp_path: Path) -> None:
    simulate(2, "offsets", 1, 0.0, tmp_path / "csv", traits=Traits(zone))
    simulate(2, "offsets", 1, 0.0, tmp_path / "fhir", form="fhir", traits=Traits(zone))
    told = {
        one["id"]: one["effectiveDateTime"]
        for one in whole(tmp_path / "fhir")
        if one["resourceType"] == "Observation" and one["id"].startswith("V")
    }
    rows = read_csv(nights(tmp_path / "csv")[0] / "vitals.csv")
    assert len(rows) > 50
    for row in rows:
        local = datetime.fromisoformat(row["measured"]).replace(tzinfo=zoneinfo.ZoneInfo(zone))
        assert told[row["id"]] == local.isoformat()
    assert f'zone = "{zone}"' in (tmp_path / "fhir" / "fhir.toml").read_text()


def only_code(concept: dict[str, Any] | None) -> str:
    return concept["coding"][0]["code"] if concept and "coding" in concept else ""


def numeric(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def amount(quantity: dict[str, Any] | None) -> tuple[float | str, str]:
    return (quantity["value"], quantity.get("unit", "")) if quantity else ("", "")


def extension(resource: dict[str, Any], name: str, member: str) -> Any:
    found = [e[member] for e in resource.get("extension", []) if e["url"].endswith(f"/{name}")]
    return found[0] if found else None


def facts_of_row(file: str, row: Row) -> tuple[Any, ...]:
    """Say what a CSV row says, in words that both formats have."""
    clinical: tuple[Any, ...]
    if file == "patients":
        sex = {"F": "female", "M": "male"}[row["sex"]]
        clinical = (row["birth_date"], sex, instant(row["observation_end"]))
    elif file == "encounters":
        clinical = (instant(row["start"]), instant(row["end"]), row["setting"])
    elif file == "medications":
        clinical = (row["status"], row["code"], instant(row["start"]), instant(row["end"]))
        clinical += (numeric(row["dose"]), row["dose_unit"], numeric(row["rate"]), row["order_id"])
    elif file == "labs":
        clinical = (instant(row["collected"]), instant(row["resulted"]), row["code"])
        clinical += (numeric(row["value"]), numeric(row["low"]), numeric(row["high"]))
        is_counted = isinstance(numeric(row["value"]), float)
        clinical += (row["unit"] if is_counted else "", row["status"], bool(row["specimen"]))
    elif file == "vitals":
        clinical = (instant(row["measured"]), row["code"], numeric(row["value"]))
        clinical += (row["unit"], row["site"])
    elif file == "diagnoses":
        clinical = (day_or_instant(row["diagnosed"]), row["code"], row["category"])
    elif file == "adverse_events":
        clinical = (instant(row["onset"]), instant(row["resolved"]), row["code"], row["grade"])
    else:
        clinical = (instant(row["scanned"]), row["code"], row["site"], numeric(row["z_score"]))
        clinical += (numeric(row["ha_z_score"]), numeric(row["bmd"]))
    named = "" if file == "patients" else row["id"]
    return (named, row["version"], row["patient_id"], row.get("encounter_id", ""), *clinical)


CLASSES = {"IMP": "inpatient", "AMB": "outpatient", "HH": "home", "EMER": "emergency"}
CATEGORIES = {"problem-list-item": "problem-list", "encounter-diagnosis": "encounter"}


def facts_of_resource(file: str, one: dict[str, Any], stock: dict[str, str]) -> tuple[Any, ...]:
    """Say what a resource says, in words that both formats have."""
    clinical: tuple[Any, ...]
    when = told_instant(one.get("effectiveDateTime"))
    code = only_code(one.get("code"))
    value = one.get("valueString") or amount(one.get("valueQuantity"))[0]
    if file == "patients":
        end = extension(one, "observation-end", "valueDateTime")
        clinical = (one["birthDate"], one["gender"], told_instant(end))
    elif file == "encounters":
        period = one["period"]
        clinical = (told_instant(period["start"]), told_instant(period.get("end")))
        clinical += (CLASSES.get(one["class"]["code"], "phone"),)
    elif file == "medications":
        drug = only_code(one.get("medicationCodeableConcept"))
        if "medicationReference" in one:
            drug = stock[one["medicationReference"]["reference"]]
        period = one.get("effectivePeriod", {"start": one.get("effectiveDateTime")})
        dosage = one["dosage"][0] if isinstance(one["dosage"], list) else one["dosage"]
        dose = dosage.get("dose") or dosage["doseAndRate"][0]["doseQuantity"]
        clinical = (one["status"], drug, told_instant(period["start"]))
        clinical += (told_instant(period.get("end")), *amount(dose))
        clinical += (amount(dosage.get("rateQuantity"))[0], name_in(one.get("request")))
    elif file == "labs":
        limits = one.get("referenceRange", [{}])[0]
        clinical = (when, told_instant(one["issued"]), code, value)
        clinical += (amount(limits.get("low"))[0], amount(limits.get("high"))[0])
        clinical += (amount(one.get("valueQuantity"))[1], one["status"], "specimen" in one)
    elif file == "vitals":
        site = one.get("bodySite", {}).get("text", "")
        clinical = (when, code, value, amount(one["valueQuantity"])[1], site)
    elif file == "diagnoses":
        category = CATEGORIES[only_code(one["category"][0])]
        onset = one["onsetDateTime"]
        clinical = (told_instant(onset) if "T" in onset else onset, code, category)
    elif file == "adverse_events":
        end = told_instant(extension(one, "resolved", "valueDateTime"))
        grade = extension(one, "ctcae-grade", "valueInteger")
        clinical = (told_instant(one["date"]), end, only_code(one.get("event")), str(grade))
    else:
        parts = [amount(part["valueQuantity"])[0] for part in one["component"]]
        clinical = (when, code, one["bodySite"]["text"], value, *parts)
    if file == "patients":
        return ("", one["meta"]["versionId"], one["identifier"][0]["value"], "", *clinical)
    patient = name_in(one["subject"]).removeprefix("MRN-")
    visit = name_in(one.get("encounter") or one.get("context"))
    return (one.get("id", ""), one["meta"]["versionId"], patient, visit, *clinical)


def name_in(reference: dict[str, str] | None) -> str:
    return reference["reference"].rpartition("/")[2] if reference else ""


def test_resources_say_what_the_rows_say(made: dict[str, Path]) -> None:
    broken = Counter(
        (int(row["night"]), row["file"].removesuffix(".csv"), int(row["row"]))
        for row in read_csv(made["csv"] / "truth" / "fate.csv")
        if row["kind"] == "broken_record"
    )
    n_told = n_broken = 0
    pairs = zip(nights(made["csv"]), nights(made["fhir"]), strict=True)
    for number, (plain, night) in enumerate(pairs, start=1):
        stock = {
            f"Medication/{one['id']}": only_code(one["code"])
            for one in resources(night / "Medication.ndjson")
            if one
        }
        for file, names in FILES.items():
            rows = [
                row
                for place, row in enumerate(read_csv(plain / f"{file}.csv"), start=1)
                if (number, file, place) not in broken and row.get("record_state") != "deleted"
            ]
            told = [one for name in names for one in resources(night / f"{name}.ndjson")]
            n_broken += told.count(None)
            mine = Counter(facts_of_resource(file, one, stock) for one in told if one)
            # A spoiled copy of a withdrawal is a record of its own: FHIR tells it as a resource.
            extra = mine - Counter(facts_of_row(file, row) for row in rows)
            assert all(name.startswith("X-") or not name for name, *_ in extra)
            assert not Counter(facts_of_row(file, row) for row in rows) - mine
            n_told += mine.total()
    assert n_broken == broken.total() > 5
    assert n_told > 3000


def test_deletions_are_the_rows_that_are_taken_back(made: dict[str, Path]) -> None:
    n_gone = 0
    for plain, night in zip(nights(made["csv"]), nights(made["fhir"]), strict=True):
        rows = read_csv(plain / "medications.csv")
        gone = {
            f"MedicationAdministration/{row['id']}"
            for row in rows
            if row["record_state"] == "deleted" and row["id"].startswith("M")
        }
        path = night / "deleted.ndjson"
        assert path.exists() is bool(gone)
        bundles = [one for one in resources(path) if one] if gone else []
        entries = [entry["request"] for one in bundles for entry in one["entry"]]
        assert {entry["url"] for entry in entries} == gone
        assert all(entry["method"] == "DELETE" for entry in entries)
        assert all(one["type"] == "transaction" for one in bundles)
        n_gone += len(gone)
    assert n_gone > 0


def shows(kind: str, told: list[str], number: int) -> bool:
    """Tell whether a resource is dirty in the way that its fate says."""
    line = told[number - 1]
    one = parsed(line)
    if kind == "broken_record":
        return one is None
    assert one is not None
    if kind == "exact_duplicate":
        return line in told[: number - 1]
    if kind == "older_version":
        return str(one["meta"]["versionId"]) == "0"
    if kind == "missing_id":
        return "id" not in one
    if kind == "unknown_category":
        return not str(one["resourceType"]).startswith("Medication")
    if kind == "missing_code":
        concept = one.get("code") or one.get("event") or one.get("medicationCodeableConcept")
        return "medicationReference" not in one and only_code(concept) == ""
    if kind == "end_before_start":
        period = one.get("period") or one["effectivePeriod"]
        return bool(period["end"] < period["start"])
    marks = {
        "impossible_value": r'"value":(3810|900|9999)[,}]',
        "foreign_code": r'"code":"(2345-7|8480-6|J45.909|L30.9|723)"',
        "unknown_unit": '"unit":"furlong"',
        "no_number": '"valueString":"QNS"',
        "unreadable_time": "2017-02-31",
        "far_future": "2031-01-01",
    }
    return re.search(marks[kind], line) is not None


def test_every_planted_row_is_dirty_as_its_fate_says(made: dict[str, Path]) -> None:
    seen = Counter[str]()
    told = {
        (number, path.name): lines(path)
        for number, night in enumerate(nights(made["fhir"]), start=1)
        for path in night.glob("*.ndjson")
    }
    for row in read_csv(made["fhir"] / "truth" / "fate.csv"):
        assert shows(row["kind"], told[int(row["night"]), row["file"]], int(row["row"])), row
        seen[row["kind"]] += 1
    assert len(seen) == 13


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def shapes(told: Iterator[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """Return the JSON kinds that each element of each resource type was seen with."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in told:
        for path, value in leaves(one):
            found.setdefault((one["resourceType"], path), set()).add(kind_of(value))
    return found


def real(shared_dir: Path) -> Iterator[dict[str, Any]]:
    """Yield resources that hospitals and standards bodies wrote."""
    data = shared_dir / "data"
    for path in (data / "mii-testdata").glob("*.json"):
        yield json.loads(path.read_text(encoding="utf-8"))
    for path in (data / "mimic-iv-demo" / "fhir").glob("*.ndjson.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for _, line in zip(range(60), stream, strict=False):
                yield json.loads(line)


def test_elements_have_the_shape_that_real_exports_have(
    made: dict[str, Path], shared_dir: Path
) -> None:
    theirs = shapes(real(shared_dir))
    ours = shapes(whole(made["fhir"]))
    known = {element: kinds for element, kinds in ours.items() if element in theirs}
    assert {element for element, kinds in known.items() if not kinds <= theirs[element]} == set()
    assert len(known) > 0.6 * len(ours)
