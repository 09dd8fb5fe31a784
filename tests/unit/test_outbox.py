"""Messages of the outbox: put once, sent at least once, and never after they were acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.announce import GIVE_UP_AFTER, announce, send
from flows.console import SilentConsole
from flows.context import RunContext
from pipelines.base.errors import StorageError
from pipelines.base.site import Site
from tests.unit.store_batches import DAY_0, make_site
from warehouse import outbox
from warehouse.guard import transaction
from warehouse.outbox import Message, message_key, put, waiting
from warehouse.store import Store


class Receiver:
    """A channel that notes what it is sent, and fails while it is told to."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.is_down = False

    def __call__(self, message: Message) -> None:
        if self.is_down:
            raise ConnectionError("Jane Doe, MRN 123")
        self.got.append(message.key)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Receiver:
    found = Receiver()
    monkeypatch.setattr("flows.channels.channels_of", lambda _site: {"post": found})
    return found


def message(name: str, channel: str = "post") -> Message:
    return Message(message_key(name), "north", channel, f"About {name}", "text", "run-1")


def write(site: Site, *names: str) -> int:
    with Store(site) as store, transaction(store.con):
        return put(store.con, map(message, names))


def night(site: Site) -> RunContext:
    context = RunContext(site, "run-1", SilentConsole(), DAY_0)
    with context.console.step("announce") as step:
        announce(context, step)
    return context


def told(site: Site) -> list[tuple[object, ...]]:
    with Store(site) as store:
        return store.con.execute(
            "SELECT subject, sent_at IS NOT NULL, n_attempts FROM ops.outbox "
            "ORDER BY message_number"
        ).fetchall()


def test_a_message_is_sent_once_however_often_it_is_put(site: Site, receiver: Receiver) -> None:
    assert write(site, "a", "b", "a") == 2
    night(site)
    assert write(site, "b", "a") == 0
    night(site)
    assert receiver.got == [message("a").key, message("b").key]
    assert told(site) == [("About a", True, 1), ("About b", True, 1)]


def test_a_message_that_was_rolled_back_is_never_sent(site: Site, receiver: Receiver) -> None:
    with Store(site) as store:
        store.con.execute("BEGIN")
        put(store.con, [message("a")])
        store.con.execute("ROLLBACK")
    night(site)
    assert receiver.got == []


def test_a_channel_that_fails_costs_no_night_and_loses_nothing(
    site: Site, receiver: Receiver
) -> None:
    names = [f"m{number}" for number in range(GIVE_UP_AFTER + 2)]
    write(site, *names)
    receiver.is_down = True
    remarks = night(site).remarks
    assert [text.split(": ")[1] for text in remarks] == [
        "ConnectionError. The next run tries again.",
        "it was given up for tonight. The next run tries again.",
    ]
    assert "Jane" not in "".join(remarks)
    receiver.is_down = False
    assert night(site).remarks == []
    assert receiver.got == [message(name).key for name in names]
    assert {row[1:] for row in told(site)} == {(True, 2), (True, 1)}


def test_a_message_for_a_channel_that_is_gone_waits_and_stops_no_other(
    site: Site, receiver: Receiver
) -> None:
    with Store(site) as store, transaction(store.con):
        put(store.con, [message("a", "pigeon"), message("b")])
    assert "pigeon: it is not configured" in night(site).remarks[0]
    assert receiver.got == [message("b").key]


@pytest.mark.parametrize("is_gone", [False, True], ids=["other version", "deleted"])
def test_a_store_that_is_made_anew_sends_what_waits_and_nothing_again(
    site: Site, receiver: Receiver, *, is_gone: bool
) -> None:
    write(site, "a")
    night(site)
    receiver.is_down = True
    write(site, "b")
    night(site)
    if is_gone:
        site.store_path.unlink()
        names = ["b"]
    else:
        write(site, "c")  # which no run has come to announce yet
        names = ["b", "c"]
        with Store(site) as store:
            store.set_state("layout_hash", "of another version")
    assert write(site, "a") == 0
    receiver.is_down = False
    night(site)
    assert receiver.got == [message(name).key for name in ["a", *names]]


def test_killed_between_the_arrival_and_the_store_it_is_not_sent_again(
    site: Site, receiver: Receiver
) -> None:
    write(site, "a")
    send(site, [message("a")], {"post": receiver})  # and the store never learns of it
    night(site)
    assert len(receiver.got) == 1
    assert told(site) == [("About a", True, 1)]


def test_killed_before_the_arrival_is_noted_it_is_sent_again_under_the_same_key(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site, "a")

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "acknowledge", die)
        with pytest.raises(SystemExit):
            night(site)
    night(site)
    assert receiver.got == [message("a").key] * 2
    assert told(site) == [("About a", True, 2)]


def test_a_line_that_a_crash_cut_off_hides_no_other_line(site: Site, receiver: Receiver) -> None:
    write(site, "a", "b")
    night(site)
    path = outbox.journal(site)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])  # of the arrival of b
    with Store(site) as store:
        store.rebuild()
    site.store_path.unlink()
    write(site, "c")
    night(site)
    assert receiver.got == [message(name).key for name in "abbc"]
    site.store_path.unlink()
    night(site)
    assert len(receiver.got) == 4


def test_what_cannot_be_noted_is_not_sent(
    site: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(site, "a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox, "note_attempt", full)
    with pytest.raises(StorageError, match="disk is full"):
        night(site)
    assert receiver.got == []
    with Store(site) as store:
        assert waiting(store.con) == [message("a")]
