"""Channels: webhook and e-mail without a server, secrets from the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.addresses import address
from flows.announce import send
from flows.channels import channels_of
from flows.doctor import EXAMINATIONS
from pipelines.base.errors import ConfigError
from pipelines.base.files import make_private
from pipelines.base.site import Site
from tests.functional.events_kit import Received, received, site_with
from tests.unit.store_batches import make_site
from warehouse.outbox import Message, message_key

__all__ = ["received"]

TOLD = {"event": "dripwatch.signal.changed", "alert_key": "s/fever/risk", "text": "Fever: case ü"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    made = make_site(tmp_path)
    make_private(made.restricted)
    return made


def message(channel: str) -> Message:
    key = message_key(channel)
    body = json.dumps({**TOLD, "key": key})
    return Message(key, "north", channel, "north: Fever: case", body, "run-1")


def test_nobody_is_told_where_nobody_is_named(site: Site) -> None:
    assert not channels_of(site)


def test_without_a_server_webhook_and_mail_are_told_from_here(
    site: Site, received: Received
) -> None:
    told = site_with(site, announce={"webhook": received.webhook, "mail": received.mail})
    channels = channels_of(told)
    assert set(channels) == {"webhook", "mail"}
    assert not send(told, [message("webhook"), message("mail")], channels)
    assert json.loads(received.posts[0]) == {**TOLD, "key": message_key("webhook")}
    assert received.headers[0]["Idempotency-Key"] == message_key("webhook")
    [mail] = received.mails
    assert mail["To"] == "safety@north.example"
    assert mail["Subject"] == "north: Fever: case"
    text = mail.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().startswith("Fever: case ü")


def test_a_receiver_that_refuses_leaves_the_message_waiting(site: Site, received: Received) -> None:
    received.status = 503
    dead = received.mail.replace("127.0.0.1:", "127.0.0.1:1")  # where nobody listens
    told = site_with(site, announce={"webhook": received.webhook, "mail": dead})
    failed = send(told, [message("webhook"), message("mail")], channels_of(told))
    assert dict(failed) == {("webhook", "HTTPError"): 1, ("mail", "NotTakenError"): 1}


def test_a_server_is_told_in_place_of_all_others(site: Site) -> None:
    told = site_with(
        site, prefect={"api_url": "http://127.0.0.1:9/api"}, announce={"webhook": "http://x/"}
    )
    assert set(channels_of(told)) == {"prefect"}


def test_a_secret_comes_from_the_environment_and_is_quoted_in_a_mail_address(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = site_with(
        site,
        announce={"webhook": "https://x.example/$TOKEN", "mail": "mailtos://u:$TOKEN@x.example"},
    )
    with pytest.raises(ConfigError, match="variable"):
        address(told, "webhook")
    monkeypatch.setenv("TOKEN", "a@b/c")
    assert address(told, "webhook") == "https://x.example/a@b/c"
    assert address(told, "mail") == "mailtos://u:a%40b%2Fc@x.example?format=text"


@pytest.mark.parametrize("text", ["slack://a/b/c", "smtp.example.org", "mailto://", "mailto://$"])
def test_what_is_no_address_of_an_e_mail_is_refused(site: Site, text: str) -> None:
    with pytest.raises(ConfigError):
        address(site_with(site, announce={"mail": text}), "mail")


def test_doctor_finds_by_day_that_a_secret_is_missing(site: Site) -> None:
    told = site_with(site, announce={"webhook": "https://x.example/$NOT_SET"})
    with pytest.raises(ConfigError, match="variable"):
        list(EXAMINATIONS["changed alerts"](told))
    [finding] = EXAMINATIONS["changed alerts"](site)
    assert finding.found == "told to nobody: no server and no [announce]"
