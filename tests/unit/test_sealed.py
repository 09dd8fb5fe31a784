"""Files that are encrypted one by one: what is read is what was written, or an error."""

from __future__ import annotations

import hashlib
import hmac
import random
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pipelines.base import sealed, vault
from pipelines.base.errors import ConfigError, KeyFileError, LogError
from pipelines.base.generations import adopt, building
from pipelines.base.search import search
from pipelines.base.site import load_site
from pipelines.ingest.forgotten import Forgotten
from pipelines.ingest.log import EventLog
from tests.at_rest_kit import OTHER, SECRET, nobody_else, set_key, site_that_encrypts
from tests.log_kit import FACTS, VERDICT, con, flip

__all__ = ["con", "nobody_else"]

CHUNK, TAG, HEADER = 65536, 16, 43
TEXT = b"Jane's temperature was 38.123457"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return site_that_encrypts(tmp_path / "north").restricted


def hkdf(secret: bytes, info: bytes, n_bytes: int = 32, salt: bytes = bytes(32)) -> bytes:
    """RFC 5869 by the standard library alone; one block of SHA-256 is enough."""
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")[:n_bytes]


def opened_by_hand(path: Path, secret: bytes) -> bytes:
    """The format, read as docs/decisions/173 tells it."""
    data = path.read_bytes()
    assert data.startswith(b"dripwatch-sealed-1\n" + hkdf(secret, b"dripwatch at rest id", 8))
    own = hkdf(hkdf(secret, b"dripwatch at rest"), b"dripwatch at rest file", 32, data[27:HEADER])
    told = data[:HEADER] + path.name.encode()  # it lies in the restricted folder itself
    chunks = [data[at : at + CHUNK + TAG] for at in range(HEADER, len(data), CHUNK + TAG)]
    nonces = (n.to_bytes(11, "big") + bytes([n == len(chunks) - 1]) for n in range(len(chunks)))
    return b"".join(
        AESGCM(own).decrypt(nonce, chunk, told) for nonce, chunk in zip(nonces, chunks, strict=True)
    )


@pytest.mark.parametrize("n_bytes", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_reader_that_follows_the_format_by_hand_gets_what_was_written(
    folder: Path, n_bytes: int
) -> None:
    data = random.Random(n_bytes).randbytes(n_bytes)  # noqa: S311 - no secret
    sealed.write_bytes(folder / "one", data)
    assert opened_by_hand(folder / "one", bytes.fromhex(SECRET)) == data
    assert sealed.read_bytes(folder / "one") == data


def test_any_part_is_what_the_plain_file_has_there(folder: Path) -> None:
    data = random.Random(1).randbytes(2 * CHUNK + 17)  # noqa: S311 - no secret
    sealed.write_bytes(folder / "one", data)
    drawn = random.Random(2)  # noqa: S311 - no secret
    edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(data) - 1, len(data), len(data) + 9]
    with sealed.reading(folder / "one") as (stream, size):
        assert size == len(data)
        for start in edges * 5:
            length = drawn.choice(edges)
            stream.seek(start)
            assert stream.read(length) == data[start : start + length]


def test_two_files_of_one_content_have_nothing_in_common(folder: Path) -> None:
    for name in ("one", "two"):
        sealed.write_bytes(folder / name, TEXT)
    one, two = ((folder / name).read_bytes() for name in ("one", "two"))
    assert TEXT[:8] not in one
    assert one[:27] == two[:27]
    assert one[27:] != two[27:]


@pytest.mark.parametrize("at", [HEADER - 1, HEADER, HEADER + CHUNK, HEADER + CHUNK + TAG, -1])
def test_a_flipped_bit_is_an_error(folder: Path, at: int) -> None:
    path = folder / "one"
    sealed.write_bytes(path, bytes(3 * CHUNK))
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(sealed.SealedError):
        sealed.read_bytes(path)


@pytest.mark.parametrize("left", [HEADER, HEADER + 5, HEADER + CHUNK + TAG, HEADER + CHUNK])
def test_a_file_that_was_cut_off_is_an_error_also_between_chunks(folder: Path, left: int) -> None:
    path = folder / "one"
    sealed.write_bytes(path, bytes(3 * CHUNK))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(sealed.SealedError):
        sealed.read_bytes(path)


def test_chunks_that_changed_places_are_an_error(folder: Path) -> None:
    path, size = folder / "one", CHUNK + TAG
    sealed.write_bytes(path, bytes(3 * CHUNK))
    data = path.read_bytes()
    head, first, second = data[:HEADER], data[HEADER:][:size], data[HEADER + size :][:size]
    path.write_bytes(head + second + first + data[HEADER + 2 * size :])
    with pytest.raises(sealed.SealedError):
        sealed.read_bytes(path)


def test_a_file_in_the_place_of_another_one_is_an_error(folder: Path) -> None:
    sealed.write_bytes(folder / "one", TEXT)
    shutil.copy(folder / "one", folder / "two")
    with pytest.raises(sealed.SealedError):
        sealed.read_bytes(folder / "two")


def test_a_log_that_gets_another_folder_is_read_there(folder: Path) -> None:
    built = building(folder)
    built.mkdir()
    marks = [("f" * 64, 0)]
    Forgotten(built).put(marks)
    assert Forgotten(adopt(built)).marks() == marks


def test_the_way_on_from_a_plain_file_is_one_that_a_site_with_a_map_can_go(folder: Path) -> None:
    (folder / "log" / "committed").mkdir(parents=True)
    sealed.write_bytes(folder / "log" / "committed" / "manifest.json", TEXT)
    (folder / "told.json").write_bytes(TEXT)
    with pytest.raises(LogError) as told:
        sealed.read_bytes(folder / "told.json")
    path = folder.parent / "site.toml"
    settings = path.read_text().replace("encrypt = true", "encrypt = true\nidmap = true")
    for name in ("encrypt", "idmap"):
        assert f"`{name} = false`" in told.value.remedy
        settings = settings.replace(f"{name} = true", f"{name} = false")
    path.write_text(settings)
    load_site(path)
    assert sealed.read_bytes(folder / "told.json") == TEXT


def test_a_search_goes_through_what_is_sealed(folder: Path) -> None:
    sealed.write_bytes(folder / "one", TEXT)
    found = search([folder], lambda data: TEXT in data).found
    assert found == ((folder / "one", "unsealed"),)


def test_another_key_is_told_and_a_renewed_one_still_opens(folder: Path) -> None:
    sealed.write_bytes(folder / "one", TEXT)
    set_key(folder.parent, OTHER)
    load_site(folder.parent)
    with pytest.raises(KeyFileError, match="under another key") as told:
        sealed.read_bytes(folder / "one")
    assert OTHER not in str(told.value)
    assert "If it is this file alone" in told.value.remedy  # bits of the secret's name may flip
    set_key(folder.parent, SECRET, OTHER)
    load_site(folder.parent)
    assert sealed.read_bytes(folder / "one") == TEXT
    sealed.copy(folder / "one", folder / "two")
    assert opened_by_hand(folder / "two", bytes.fromhex(OTHER)) == TEXT


def test_outside_of_the_folder_and_without_the_setting_files_are_plain(tmp_path: Path) -> None:
    site_that_encrypts(tmp_path / "north")
    beside = site_that_encrypts(tmp_path / "south", encrypt=False).restricted
    for path in (tmp_path / "one", tmp_path / "north" / "one", beside / "one"):
        sealed.write_bytes(path, TEXT)
        assert path.read_bytes() == TEXT


def test_a_plain_file_is_not_read_where_all_are_sealed_and_may_not_be_sealed_there(
    folder: Path,
) -> None:
    (folder / "log" / "committed").mkdir(parents=True)
    plain = folder / "log" / "committed" / "manifest.json"
    plain.write_bytes(TEXT)
    with pytest.raises(ConfigError, match="not encrypted") as told:
        sealed.read_bytes(plain)
    assert "dripwatch encrypt" in told.value.remedy
    with sealed.believing_plain():
        assert sealed.read_bytes(plain) == TEXT
    sealed.write_bytes(plain.with_name("other.json"), TEXT)
    for one in (plain, folder / "told.json"):
        one.write_bytes(TEXT)
        with pytest.raises(LogError, match="among encrypted ones") as refused:
            sealed.copy(one, folder / "copy")
        assert "Jane" not in str(refused.value)
    assert not (folder / "copy").exists()
    assert sealed.is_begun(folder / "log")


def test_a_file_of_an_earlier_generation_is_none_of_this_one(folder: Path) -> None:
    for name in ("log/committed/b", "log/held/b", "log-2/committed/b", "log-2/recorded"):
        (folder / name).mkdir(parents=True)
    one = folder / "log" / "held" / "b" / "one.avro"
    sealed.write_bytes(one, TEXT)
    moved = folder / "log" / "committed" / "b" / "one.avro"
    shutil.copy(one, moved)
    assert sealed.read_bytes(moved) == TEXT
    for later in ("log-2/committed/b/one.avro", "log-2/recorded/one.avro"):
        shutil.copy(one, folder / later)
        with pytest.raises(sealed.SealedError):
            sealed.read_bytes(folder / later)


class TestLog:
    @pytest.fixture
    def log(self, folder: Path, con: object) -> EventLog:
        log = EventLog(folder / "log")
        log.write(con, FACTS, VERDICT)  # type: ignore[arg-type] # the fixture's type is its own
        log.commit(FACTS.batch_id)
        return log

    def test_holds_what_a_plain_one_holds_and_shows_nothing(
        self, log: EventLog, con: object, tmp_path: Path
    ) -> None:
        plain = EventLog(tmp_path / "plain")
        plain.write(con, FACTS, VERDICT)  # type: ignore[arg-type]
        plain.commit(FACTS.batch_id)
        (one,), (other,) = log.verify(), plain.verify()
        assert {name: file.rows for name, file in one.types.items()} == {
            name: file.rows for name, file in other.types.items()
        }
        for name in one.types:
            assert log.read(one, name) == plain.read(other, name)
        assert log.read_quarantine(one) == plain.read_quarantine(other)

        def n_plain(root: Path) -> int:
            files = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
            return sum(text in data for text in (b"LabResulted", b"Jane") for data in files)

        assert n_plain(plain.root) > 2
        assert n_plain(log.root) == 0

    @pytest.mark.parametrize("name", ["manifest.json", "LabResulted.avro", "quarantine.avro"])
    def test_a_flipped_bit_of_any_file_stops_the_reader(self, log: EventLog, name: str) -> None:
        path = log.root / "committed" / FACTS.batch_id / name
        flip(path)
        with pytest.raises(LogError, match="damaged"):
            log.verify()

    def test_files_tell_their_hash_without_a_key(self, log: EventLog) -> None:
        (manifest,) = log.committed()
        for file in manifest.event_files:
            data = (log.root / "committed" / FACTS.batch_id / file.path).read_bytes()
            assert hashlib.sha256(data).hexdigest() == file.sha256

    def test_the_key_is_in_no_file(self, log: EventLog) -> None:
        secrets = [bytes.fromhex(SECRET), SECRET.encode()]
        secrets += [one.secret for one in vault.masters(log.root)]
        for path in log.root.rglob("*.*"):
            assert not any(secret in path.read_bytes() for secret in secrets)
