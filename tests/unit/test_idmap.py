"""The map from keys to patients: only where it is asked for, sealed, and who asked is noted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.idmap import asked_path
from pipelines.base import sealed
from pipelines.base.errors import ConfigError, ExitCode, KeyFileError, LogError
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
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
    lines = [json.loads(line) for line in asked_path(site).read_text().splitlines()]
    assert [(one["reason"], one["is_known"]) for one in lines] == [
        ("call of the ward", True),
        ("a typo", False),
    ]
    assert asked_path(site).stat().st_mode & 0o777 == 0o600
    for secret in (CHILD[1], key):
        assert secret not in asked_path(site).read_text()
        assert secret.encode() not in IdMap(site).path.read_bytes()


def test_nothing_is_told_without_a_reason_and_nothing_noted(site: Site) -> None:
    assert asked(site, "0" * 64)["exit_code"] == ExitCode.USAGE
    assert asked(site, "1000001", "--reason", "by id")["exit_code"] == ExitCode.USAGE
    assert not asked_path(site).exists()


def test_whoever_became_the_account_of_the_refresh_is_noted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "k.weber")
    asked(site, "0" * 64, "--reason", "call of the ward")
    (line,) = asked_path(site).read_text().splitlines()
    assert json.loads(line)["became_from"] == "k.weber"


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


def test_a_flipped_bit_is_told(site: Site) -> None:
    IdMap(site).add([CHILD])
    flip(IdMap(site).path)
    with pytest.raises((LogError, KeyFileError)):
        IdMap(site).named()
