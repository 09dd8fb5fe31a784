"""The map from keys to patients: only where it is asked for, sealed, and who asked is noted."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipelines.base import sealed
from pipelines.base.errors import ConfigError, ExitCode, KeyFileError, LogError
from pipelines.base.files import alone_with, append_line, write_durably
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
from pipelines.ingest.asked import Asked
from pipelines.ingest.forgotten import Forgotten
from pipelines.ingest.idmap import IdMap
from tests.at_rest_kit import OTHER, SECRET, nobody_else, set_key, site_that_encrypts
from tests.log_kit import flip

__all__ = ["nobody_else"]

CHILD, OTHER_CHILD = ("mrn", "1000001"), ("mrn", "1000002")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = site_that_encrypts(tmp_path / "north")
    path = site.config_path
    path.write_text(path.read_text().replace("encrypt = true", "encrypt = true\nidmap = true"))
    return load_site(path)


def asked(site: Site, key: str, *options: str) -> dict[str, object]:
    words = ["idmap", "-c", str(site.config_path), "--json", *options]
    answer: dict[str, object] = json.loads(CliRunner().invoke(app, words, input=key).stdout)
    return answer


def test_it_is_off_and_cannot_be_had_plain(site: Site) -> None:
    path = site.config_path
    path.write_text(path.read_text().replace("encrypt = true", "encrypt = false"))
    with pytest.raises(ConfigError, match="needs `encrypt = true`"):
        load_site(path)
    path.write_text(path.read_text().replace("idmap = true", ""))
    assert not load_site(path).privacy.idmap


def test_a_key_leads_to_the_patient_and_it_is_noted_who_asked_but_not_about_whom(
    site: Site,
) -> None:
    IdMap(site).add([CHILD, OTHER_CHILD])
    key = str(load_key(site).patient("north", *CHILD))
    told = asked(site, key + "\n", "--reason", "call of the ward")
    assert told["result"] == {"patients": [{"namespace": "mrn", "id": "1000001"}]}
    assert asked(site, "0" * 64, "--reason", "a typo")["result"] == {"patients": []}
    assert reasons(site) == [("call of the ward", True), ("a typo", False)]
    assert Asked(site).path.stat().st_mode & 0o777 == 0o600
    for secret in (CHILD[1], key):
        assert secret not in json.dumps(Asked(site).notes())
        assert secret.encode() not in IdMap(site).path.read_bytes()
    for text in (b"call of the ward", b"reason", base64.b64encode(b"call of the ward")[:16]):
        assert text not in Asked(site).path.read_bytes()


def test_nothing_is_told_without_a_reason_and_nothing_noted(site: Site) -> None:
    assert asked(site, "0" * 64)["exit_code"] == ExitCode.USAGE
    assert asked(site, "1000001", "--reason", "by id")["exit_code"] == ExitCode.USAGE
    about = f"whose is {'0' * 64}?"
    assert asked(site, "0" * 64, "--reason", about)["exit_code"] == ExitCode.USAGE
    assert not Asked(site).path.exists()


def test_whoever_became_the_account_of_the_refresh_is_noted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "k.weber")
    asked(site, "0" * 64, "--reason", "call of the ward")
    [note], _ = Asked(site).notes()
    assert note["became_from"] == "k.weber"


def test_who_asked_is_told_by_the_same_command(site: Site) -> None:
    asked(site, "0" * 64, "--reason", "call of the ward [/x]")
    told = CliRunner().invoke(app, ["idmap", "--asked", "-c", str(site.config_path)])
    assert told.exit_code == 0
    assert "call of the ward [/x]" in told.stdout
    assert "1 question." in told.stdout


def test_notes_follow_a_renewed_key_and_one_that_is_not_sealed_is_not_believed(site: Site) -> None:
    asked(site, "0" * 64, "--reason", "before")
    append_line(Asked(site).path, json.dumps({"reason": "by whom?", "is_known": True}))
    append_line(Asked(site).path, '{"sealed": "cut o')
    set_key(site.root, SECRET, OTHER)
    site = load_site(site.root)
    asked(site, "0" * 64, "--reason", "after")
    before = reasons(site)
    assert before == [("before", False), ("after", False)]
    Asked(site).seal_again()
    assert (reasons(site), Asked(site).notes()[1]) == (before, 2)
    set_key(site.root, SECRET)  # the older secret alone opens none of them any more
    with pytest.raises(KeyFileError):
        Asked(load_site(site.root)).notes()


def test_a_note_of_another_file_or_with_a_flipped_bit_is_not_read(site: Site) -> None:
    for reason in ("one", "two", "three"):
        asked(site, "0" * 64, "--reason", reason)
    one, two, three = Asked(site).path.read_text().splitlines()
    middle = len(two) // 2
    two = two[:middle] + ("A" if two[middle] != "A" else "B") + two[middle + 1 :]
    elsewhere = site.restricted / "idmap" / "other.jsonl"
    four = json.dumps({"sealed": base64.b64encode(sealed.seal(b"{}", elsewhere)).decode()})
    Asked(site).path.write_text("\n".join([one, two, three, four]) + "\n")
    assert [reason for reason, _ in reasons(site)] == ["one", "three"]
    assert Asked(site).notes()[1] == 2


def test_a_note_that_waits_for_the_file_is_not_lost_when_another_takes_its_place(
    site: Site,
) -> None:
    asked(site, "0" * 64, "--reason", "first")
    path = Asked(site).path
    with alone_with(path):
        waiting = threading.Thread(target=append_line, args=(path, path.read_text().strip()))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        write_durably(path, path.read_bytes(), mode=0o600)
    waiting.join()
    assert [reason for reason, _ in reasons(site)] == ["first", "first"]


def reasons(site: Site) -> list[tuple[str, bool]]:
    return [(one["reason"], one["is_known"]) for one in Asked(site).notes()[0]]


def test_it_follows_a_renewed_key(site: Site) -> None:
    IdMap(site).add([CHILD])
    set_key(site.root, SECRET, OTHER)
    site = load_site(site.root)
    IdMap(site).seal_again()
    key = load_key(site)
    assert IdMap(site).find(key, str(key.patient("north", *CHILD))) == [CHILD]
    assert not IdMap(site).find(key, str(key.before(0).patient("north", *CHILD)))
    set_key(site.root, SECRET)  # the older secret alone does not open it any more
    with pytest.raises(KeyFileError):
        IdMap(load_site(site.root)).named()


@pytest.mark.parametrize("n_renewals", [0, 1])
def test_whoever_has_a_mark_is_not_in_it_also_under_a_key_that_was_renewed_since(
    site: Site, n_renewals: int
) -> None:
    IdMap(site).add([CHILD, OTHER_CHILD])
    set_key(site.root, SECRET, OTHER)
    site = load_site(site.root)
    key = load_key(site)
    then = key.before(n_renewals)
    mark = then.forgotten(str(then.patient("north", *CHILD)), n_renewals)
    marks = Forgotten(site.log_root)
    assert IdMap(site).drop_forgotten(key, marks) == 0
    marks.put([(key.renew(mark, n_renewals), n_renewals)])
    assert IdMap(site).drop_forgotten(key, marks) == 1
    assert IdMap(site).named() == {OTHER_CHILD}


def test_it_stays_sealed_where_the_rest_is_plain_again(site: Site) -> None:
    IdMap(site).add([CHILD])
    path = site.config_path
    text = path.read_text().replace("idmap = true", "").replace("encrypt = true", "encrypt = false")
    path.write_text(text)
    plain = load_site(path)
    IdMap(plain).seal_again()
    assert sealed.sealed_with(IdMap(plain).path) is not None


def test_a_plain_file_in_its_place_is_told_with_a_way_on(site: Site) -> None:
    # `dripwatch encrypt` does not read it either, so that is no remedy.
    IdMap(site).add([CHILD])
    text = json.dumps({"format": 1, "patients": [OTHER_CHILD]})
    IdMap(site).path.write_text(text)
    with pytest.raises(LogError, match="map of patients' identifiers") as told:
        IdMap(site).named()
    assert "move it away" in told.value.remedy


def test_a_flipped_bit_is_told(site: Site) -> None:
    IdMap(site).add([CHILD])
    flip(IdMap(site).path)
    with pytest.raises((LogError, KeyFileError)):
        IdMap(site).named()
