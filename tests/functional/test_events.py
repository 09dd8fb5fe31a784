"""A real Prefect server with the deployment: an arrival leads to a run, a changed alert is told."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.announce import announce, send
from flows.channels import channels_of
from flows.console import SilentConsole
from flows.context import RunContext
from flows.deploy import NAME, pool_name
from flows.server import own_server
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site
from tests.functional.events_kit import Received, received, running, site_with, wait_for
from tests.functional.refresh_site import deliver, dripwatch, hospital, make_site
from tests.unit.store_batches import DAY_0
from warehouse.alerts import SIGNAL_CHANGED
from warehouse.guard import transaction
from warehouse.outbox import Message, message_key, put
from warehouse.store import Store

__all__ = ["hospital", "received"]

pytestmark = pytest.mark.slow

#: What is promised of an arrival (an idle machine takes two thirds of it).
SECONDS = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with own_server(tmp_path_factory.mktemp("prefect"), is_whole=True) as own:
        yield own.wait(600)


@pytest.fixture
def site(tmp_path: Path, hospital: Path, server: str, received: Received) -> Site:
    return make_site(
        tmp_path,
        hospital,
        watch={"poll_seconds": 0.25, "stable_seconds": 0.5},
        prefect={"api_url": server},
        announce={"webhook": received.webhook, "mail": received.mail},
    )


def ask(url: str, what: str, **wanted: object) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - the test's own server
        f"{url}/{what}/filter",
        data=json.dumps(wanted).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the test's own server
        found = json.load(answer)
    return found if isinstance(found, list) else found["events"]


def deployed(site: Site) -> dict[str, Any]:
    done = dripwatch("deploy", "--config", site.config_path, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def begun_runs(url: str, deployment_id: str) -> list[dict[str, Any]]:
    """Runs of the deployment that somebody or something started; those planned for nights apart."""
    runs = ask(url, "flow_runs", deployments={"id": {"any_": [deployment_id]}})
    return [run for run in runs if not run["auto_scheduled"]]


def test_a_file_that_arrives_leads_to_a_finished_run_with_its_summary(
    site: Site, server: str, hospital: Path
) -> None:
    found = deployed(site)
    assert found["next_run_at"] is not None
    worker = ("-m", "prefect", "worker", "start", "--pool", pool_name(site))
    watch = ("-c", "from flows.cli import main; main()", "watch", "--config", str(site.config_path))
    home = str(site.restricted / "worker")
    settings = {
        "PREFECT_API_URL": server,
        "PREFECT_HOME": home,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    with running(*worker, **settings), running(*watch):
        pool = [pool_name(site)]
        wait_for(lambda: ask(server, f"work_pools/{pool[0]}/workers"), 60)
        shutil.copytree(hospital / "deliveries" / "night-001", site.root / "elsewhere")
        (site.root / "elsewhere").rename(site.root / "inbox" / "night-001")
        took = wait_for(
            lambda: any(
                run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")
                for run in begun_runs(server, found["deployment_id"])
            ),
            300,
        )
        [run] = begun_runs(server, found["deployment_id"])
        assert (run["state_name"], run["parameters"]) == (
            "Completed",
            {"config": str(site.config_path)},
        )
        assert site.warehouse.exists()
        pages = [one for one in ask(server, "artifacts") if one["flow_run_id"] == run["id"]]
        assert [page["key"] for page in pages] == ["refresh-summary"]
        assert "1 new batch committed" in str(pages[0]["data"])

        # A delivery that cannot be read ends the run as the command would, in constant words.
        bad = site.root / "inbox" / "Doe-Jane"
        bad.mkdir()
        (bad / "Doe-Jane.csv").write_text("Jane Doe")
        wait_for(lambda: len(begun_runs(server, found["deployment_id"])) == 2, 120)
        wait_for(
            lambda: all(
                one["state_type"] in ("COMPLETED", "FAILED")
                for one in begun_runs(server, found["deployment_id"])
            ),
            300,
        )
    [failed] = [one for one in begun_runs(server, found["deployment_id"]) if one["id"] != run["id"]]
    assert failed["state_name"] == ExitCode.DELIVERY.name.capitalize()
    assert failed["state"]["message"].startswith("Exit code 5 (DELIVERY).")
    everything = [ask(server, what) for what in ("flow_runs", "task_runs", "logs", "events")]
    assert "Doe" not in json.dumps(everything)
    assert took < SECONDS, f"{took:.0f} s"


def test_a_changed_alert_reaches_webhook_and_mail_once(
    site: Site, server: str, received: Received
) -> None:
    assert deployed(site)["told"] == ["webhook", "mail"]
    assert deployed(site)["told"] == ["webhook", "mail"]  # again: nobody is told twice
    told = {
        "event": SIGNAL_CHANGED,
        "key": message_key("a"),
        "alert_key": "s/fever/risk",
        "state": "case",
        "subject": "SYNTHETIC: north: Fever: case",
        "text": "A serious event is listed <b>.",
    }
    message = Message(told["key"], "north", "prefect", told["subject"], json.dumps(told), "run-1")
    with Store(site) as store, transaction(store.con):
        put(store.con, [message])
    context = RunContext(site, "run-1", SilentConsole(), DAY_0)
    with context.console.step("announce") as step:
        announce(context, step)
    assert context.remarks == []
    send(site, [message], channels_of(site))  # as after a crash before the arrival was noted
    wait_for(lambda: received.posts and received.mails, 60)
    time.sleep(3)
    assert [json.loads(post) for post in received.posts] == [told]
    [mail] = received.mails
    assert mail["Subject"] == told["subject"]
    assert str(mail.get_payload()).strip() == told["text"]
    [event] = [one for one in ask(server, "events", limit=50) if one["event"] == SIGNAL_CHANGED]
    assert event["resource"]["prefect.resource.id"] == "dripwatch.signal.north.s.fever.risk"


def test_who_is_taken_out_of_the_settings_is_told_no_more(site: Site, server: str) -> None:
    deployed(site)
    text = site.config_path.read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("webhook =", "mail ="))]
    site.config_path.write_text("\n".join(lines))
    assert deployed(site)["told"] == []
    names = [one["name"] for one in ask(server, "automations")]
    assert names == ["dripwatch north: refresh on arrival"]


def test_deploy_leaves_a_file_of_somebody_else_alone(site: Site) -> None:
    (site.root / NAME).write_text("name: mine\n")
    done = dripwatch("deploy", "--config", site.config_path)
    assert done.returncode == ExitCode.CONFIG
    assert (site.root / NAME).read_text() == "name: mine\n"


def test_a_server_that_does_not_answer_keeps_the_message_and_not_the_night(
    site: Site, hospital: Path
) -> None:
    gone = site_with(site, prefect={"api_url": "http://127.0.0.1:9/api"})
    deliver(gone, hospital, 1)
    message = Message(message_key("b"), "north", "prefect", "s", '{"alert_key": "a"}', "run-1")
    with Store(gone) as store, transaction(store.con):
        put(store.con, [message])
    context = RunContext(gone, "run-1", SilentConsole(), DAY_0)
    with context.console.step("announce") as step:
        announce(context, step)
    assert "1 message waits to be sent by channel prefect" in context.remarks[0]
