"""The main job as a user runs it: the demo twice, then ``up`` on its data with every command beside it, then Ctrl-C."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streamlake_assets.servers.tools import find_nifi_java
from streamlake_assets_tests.end_to_end.conftest import Place, wait_for
from streamlake_assets_tests.test_docs import fences

pytestmark = [pytest.mark.end_to_end, pytest.mark.servers, pytest.mark.timeout(700)]

STAGES = ["servers", "schema", "services", "load", "history_daily", "history_intraday", "learn", "live", "refresh"]
LOCATION = 'repositorySelector: {repositoryLocationName: "streamlake", repositoryName: "__repository__"}'
SENSORS = (
    f"{{sensorsOrError({LOCATION}) {{... on Sensors {{results {{"
    "name sensorState {status ticks(limit: 1) {status}}}}}}"
)
SCHEDULES = f"{{schedulesOrError({LOCATION}) {{... on Schedules {{results {{name scheduleState {{status}}}}}}}}}}"
DAEMONS = "{instance {daemonHealth {allDaemonStatuses {daemonType healthy}}}}"
BARS = (
    '{assetOrError(assetKey: {path: ["raw", "bars"]}) {... on Asset {assetMaterializations(limit: 1) '
    "{timestamp metadataEntries {label ... on IntMetadataEntry {intValue}}}}}}"
)
REFRESHES = '{runsOrError(filter: {pipelineName: "refresh"}) {... on Runs {results {status creationTime}}}}'


def demo(place: Place) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = place.run("demo", "--once", "--json", timeout=500)
    assert done.returncode == 0, done.stderr + done.stdout
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done, summary


@pytest.fixture(scope="module")
def first(place: Place) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    result = demo(place)
    assert place.processes() == [], "the demo leaves no process"
    return result


@pytest.fixture(scope="module")
def second(place: Place, first: object) -> dict[str, Any]:
    return demo(place)[1]


@pytest.fixture(scope="module")
def up(place: Place, second: object) -> Iterator[float]:
    """Run ``up`` on the data of the demo; gives the time it was started."""
    started = time.time()
    with place.running("up") as process:
        wait_for(lambda: "Ctrl-C stops everything" in place.said() or process.poll() is not None, "up is ready", 300)
        assert process.poll() is None, place.said()
        yield started
        # the last test of this module: Ctrl-C in its terminal
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, place.said()
        assert place.processes() == [], "Ctrl-C leaves no process"
        assert json.loads(place.run("status", "--json").stdout)["supervisor"] is None


def test_the_demo_stores_every_bar_once_and_reads_it_back(first: tuple[object, dict[str, Any]]) -> None:
    summary = first[1]
    assert summary["bars_by_interval"] == {"1d": 12_154, "5m": 46_440}
    assert summary["bars"] == summary["bars_added"] == 58_594
    assert summary["topic_messages"] == summary["messages_added"] == 58_594 + 300 + summary["corporate_actions"]
    assert summary["revisions"] == 300, "each of 5 x 60 live bars was provisional once"
    assert summary["dead_letters"] == 0
    assert summary["market_session"] == "2013-03-01"


def test_the_documents_made_of_bridged_bars_equal_the_real_daily_bars(first: tuple[object, dict[str, Any]]) -> None:
    assert first[1]["documents"] == 12_154
    assert first[1]["documents_equal_daily"] == {"compared": 12_154, "different": 0}


def test_the_models_are_judged_and_no_skill_is_claimed_on_direction(first: tuple[object, dict[str, Any]]) -> None:
    models = first[1]["models"]
    for model in models:
        assert set(model) >= {"engine", "target", "version", "skill", "skill_low", "skill_high", "has_skill"}
        assert model["skill_low"] <= model["skill"] <= model["skill_high"]
    by_name = {model["name"]: model for model in models}
    kinds = ("baseline", "linear", "linear_selected", "forest", "boosting", "xgboost")
    assert set(by_name) == {f"{target}_{kind}" for target in ("adjusted_return", "log_range") for kind in kinds}
    assert len(by_name) == len(models)
    assert not any(model["has_skill"] for model in models if model["target"] == "adjusted_return")
    assert by_name["log_range_linear"]["has_skill"]
    champions = first[1]["champions"]
    assert champions["adjusted_return"] == by_name["adjusted_return_baseline"]["version"]
    assert champions["log_range"] in {m["version"] for m in models if m["has_skill"]}


def test_forecasts_were_made_before_each_session_and_scored_after(first: tuple[object, dict[str, Any]]) -> None:
    summary = first[1]
    assert (summary["forecasts"], summary["scored"], summary["signals"]) == (610, 600, 0)
    assert summary["live_skill"]["adjusted_return"] == 0
    assert summary["checks"] == {"passed": 31, "failed": 0}
    assert summary["failed_checks"] == []
    assert summary["ok"] is True


def test_the_stages_are_timed_and_the_servers_named(first: tuple[object, dict[str, Any]]) -> None:
    summary = first[1]
    assert list(summary["seconds"])[: len(STAGES)] == STAGES
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert summary["seconds"]["total"] == pytest.approx(sum(summary["seconds"][s] for s in summary["seconds"]) / 2, 0.2)
    assert [server["name"] for server in summary["servers"]] == ["kafka", "mysql", "documents"]
    assert "not MongoDB" in summary["servers"][2]["what"], "the stand-in is named"


def test_the_terminal_shows_progress_and_no_noise(
    first: tuple[subprocess.CompletedProcess[str], dict[str, Any]],
) -> None:
    done = first[0]
    assert len(done.stdout.splitlines()) == 1
    lines = done.stderr.splitlines()
    assert len(lines) < 60, "progress, not a log"
    assert [line for line in lines if "DEBUG" in line or "Traceback" in line or "Warning" in line] == []
    assert any("Live: 60 sessions" in line for line in lines)


def test_a_second_demo_publishes_again_and_adds_nothing(
    first: tuple[object, dict[str, Any]], second: dict[str, Any]
) -> None:
    before = first[1]
    assert second["messages_added"] == before["topic_messages"]
    assert second["bars_added"] == 0
    same = ("bars", "bars_by_interval", "revisions", "documents", "models", "forecasts", "scored", "signals", "checks")
    assert {name: second[name] for name in same} == {name: before[name] for name in same}


def test_up_runs_everything_and_says_where(place: Place, up: float) -> None:
    status = json.loads(place.run("status", "--json").stdout)
    services = {service["name"]: service for service in status["services"]}
    has_nifi = find_nifi_java() is not None
    assert set(services) == {
        *("kafka", "mysql", "documents", *(("nifi",) if has_nifi else ())),
        *("consumer", "scorer", "alerts", "panel", "dagster-webserver", "dagster-daemon"),
    }
    if has_nifi:
        flows = {one["flow"]: one for one in json.loads(place.run("nifi", "status", "--json").stdout)["flows"]}
        assert flows["market_replay"]["running"] > 0 and flows["market_replay"]["invalid"] == 0
    else:
        assert "no JDK 21" in place.said()
    assert {service["condition"] for service in services.values()} == {"running"}
    assert {service["answers"] for service in services.values()} <= {True, None}
    urls = json.loads(place.run("urls", "--json").stdout)
    assert urls["dagster"] in place.said()
    assert ":***@" in urls["mysql_reader"]
    assert "consuming" in place.run("logs", "consumer", "-n", "200").stdout


def test_a_second_up_is_refused_with_the_pid_of_the_first(place: Place, up: float) -> None:
    supervisor = json.loads(place.run("status", "--json").stdout)["supervisor"]
    refused = place.run("up")
    assert refused.returncode == 2
    assert str(supervisor) in refused.stderr


def test_the_daemon_ticks_the_sensors_and_the_schedule_waits(place: Place, up: float) -> None:
    def ticked() -> bool:
        found: Any = place.graphql(SENSORS)
        states = {result["name"]: result["sensorState"] for result in found["sensorsOrError"]["results"]}
        assert set(states) == {"alert_edges", "outside_observed", "raw_watermark", "refresh_needed"}
        assert {state["status"] for state in states.values()} == {"RUNNING"}
        ticks = [tick["status"] for state in states.values() for tick in state["ticks"]]
        assert "FAILURE" not in ticks
        return len(ticks) == len(states) and "STARTED" not in ticks

    wait_for(ticked, "every sensor has been evaluated")
    schedules: Any = place.graphql(SCHEDULES)
    found = {one["name"]: one["scheduleState"]["status"] for one in schedules["schedulesOrError"]["results"]}
    assert found == {"afternoon_refresh": "RUNNING", "daily_refresh": "RUNNING"}
    daemons: Any = place.graphql(DAEMONS)
    health = {one["daemonType"]: one["healthy"] for one in daemons["instance"]["daemonHealth"]["allDaemonStatuses"]}
    assert health["SENSOR"]
    assert health["SCHEDULER"]


def test_the_watermark_sensor_s_report_is_seen_in_dagster(place: Place, up: float) -> None:
    def reported() -> bool:
        found: Any = place.graphql(BARS)
        (newest,) = found["assetOrError"]["assetMaterializations"]
        rows = {entry["label"]: entry.get("intValue") for entry in newest["metadataEntries"]}
        return float(newest["timestamp"]) / 1000 > up and rows["dagster/row_count"] >= 58_594

    wait_for(reported, "raw/bars was reported by the daemon")


def test_the_refresh_that_the_sensor_asks_for_ends_well_in_its_own_process(place: Place, up: float) -> None:
    def done() -> bool:
        found: Any = place.graphql(REFRESHES)
        since = [run["status"] for run in found["runsOrError"]["results"] if run["creationTime"] > up]
        assert "FAILURE" not in since, place.run("logs", "dagster-daemon").stdout
        return "SUCCESS" in since

    wait_for(done, "a refresh run succeeded", 300)


def test_the_readme_s_own_bars_go_the_whole_way(place: Place, up: float) -> None:
    (example,) = [fence.text for fence in fences() if "my.csv <<" in fence.text and fence.page.name == "README.md"]
    done = place.shell(example)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 bars and 0 corporate actions stored" in done.stdout
    assert "price_order" in (place.folder / "my.csv.rejects.csv").read_text()
    assert place.run("cache").stdout.startswith("1 months touched, 2 session documents")
    forecasts = place.run("forecasts", "DEMO", "--json")
    assert json.loads(forecasts.stdout)["rows"] == [], "two sessions are too few to forecast"
    unknown = place.run("forecasts", "NOBODY")
    assert unknown.returncode == 2
    assert "DEMO" in unknown.stderr, "those that are there are named"
    assert len(json.loads(place.run("forecasts", "IBM", "-n", "4", "--json").stdout)["rows"]) == 4


def test_commands_beside_up_answer(place: Place, up: float) -> None:
    assert place.run("migrate").stdout.startswith("schema at revision ")
    refused = place.run("reset", "--yes")
    assert refused.returncode == 2
    assert place.settings.data_dir.is_dir(), "nothing is deleted while it runs"
    assert "Forecasts of IBM" in place.run("forecasts", "IBM").stdout
