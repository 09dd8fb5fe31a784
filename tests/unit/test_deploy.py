"""The deployment: what prefect.yaml says, and how its flow ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.console import TextConsole
from flows.deploy import deploy_command, prefect_yaml
from flows.init import make_site as make_new_site
from flows.reply import Reply
from flows.run import Conductor, RunResult
from pipelines.base.errors import ConfigError, DeliveryError, ExitCode, LockedError
from pipelines.base.site import Site
from tests.functional.events_kit import site_with
from tests.unit.store_batches import DAY_0, make_site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return make_site(tmp_path)


def deployment(site: Site) -> dict[str, Any]:
    [found] = YAML(typ="safe").load(prefect_yaml(site))["deployments"]
    assert isinstance(found, dict)
    return found


def test_the_file_says_when_by_what_and_in_which_environment(site: Site) -> None:
    found = deployment(site)
    assert (found["name"], found["entrypoint"]) == ("north", "flows.deployed.refresh")
    assert found["parameters"] == {"config": str(site.config_path)}
    [schedule] = found["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == ("0 2 * * *", "Asia/Kolkata")
    [trigger] = found["triggers"]
    assert trigger["expect"] == ["dripwatch.extract.arrived"]
    assert trigger["match"] == {"prefect.resource.id": "dripwatch.site.north"}
    environment = found["work_pool"]["job_variables"]["env"]
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["PREFECT_LOGGING_TO_API_ENABLED"] == "false"
    assert found["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_signs_of_yaml_in_a_path_stay_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "a: 'b' #c @site@ ü"
    folder.mkdir()
    found = deployment(site_with(make_site(folder), watch={"cron": ""}))
    assert found["parameters"]["config"].startswith(str(folder))
    assert found["schedules"] == []


@pytest.mark.usefixtures("site")
def test_without_a_server_there_is_nothing_to_deploy_to(tmp_path: Path) -> None:
    make_new_site(tmp_path / "new")
    with pytest.raises(ConfigError, match="No Prefect server"):
        deploy_command(tmp_path / "new", Reply("deploy", TextConsole()))


@pytest.fixture
def end(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the deployment's flow over a refresh that ends as given, one ending after another."""
    from flows import deployed

    monkeypatch.setattr(deployed, "load_site", lambda _path: site)
    monkeypatch.setattr(deployed, "TRY_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(deployed, "show_result", lambda *_: None)

    def ending(*endings: RunResult | Exception) -> Any:
        left = list(endings)

        def run(*_: object, **__: object) -> RunResult:
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(deployed, "run", run)
        state = deployed.refresh.fn(str(site.config_path))
        assert not left
        return state

    return ending


def result(*held: str) -> RunResult:
    return RunResult("r", "north", Conductor(), DAY_0, DAY_0, (), held=held)


def test_a_run_ends_as_its_exit_code_and_tells_the_server_nothing_else(
    end: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(result()).is_completed()
    held = end(result("b1"))
    assert (held.is_failed(), held.name) == (True, "Held")
    failed = end(DeliveryError("Jane Doe", where="Doe", remedy="ask"))
    assert (failed.is_failed(), failed.name) == (True, "Delivery")
    assert failed.message.startswith(f"Exit code {int(ExitCode.DELIVERY)} (DELIVERY).")
    broken = end(ValueError("born 2011-02-03"))
    assert broken.name == "Internal"
    assert "Doe" not in f"{failed!r}"
    assert "2011" not in f"{broken!r}" + capsys.readouterr().out


def test_a_run_that_finds_another_at_work_waits_for_it(end: Callable[..., Any]) -> None:
    locked = LockedError("at work", remedy="wait")
    assert end(locked, locked, result()).is_completed()
