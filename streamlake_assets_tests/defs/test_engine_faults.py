"""An engine that dies while the daily job trains: the others finish, the run fails and says why, serving goes on."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from streamlake_assets.market.targets import Target
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.stores import ledger, model_register
from streamlake_assets_tests.defs.conftest import Market, run_job
from streamlake_assets_tests.engine_contract import descendants

pytestmark = pytest.mark.servers


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@contextmanager
def without_models_of(market: Market, engine: str, keep: Path) -> Iterator[list[str]]:
    """Take the published models of an engine away, so that it has to train; put them back afterwards."""
    folder = market.settings.data_dir / "models"
    taken = [m["version"] for m in market.access.models.catalogue().manifests if m["engine"] == engine]
    for version in taken:
        shutil.move(folder / version, keep / version)
    try:
        yield taken
    finally:
        for version in taken:
            shutil.rmtree(folder / version, ignore_errors=True)
            shutil.move(keep / version, folder / version)


@contextmanager
def killing(program: str) -> Iterator[list[int]]:
    """Kill every process of that name that appears below this one."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            for process in descendants():
                with suppress(psutil.NoSuchProcess):
                    if process.name() == program and process.pid not in killed:
                        process.kill()
                        killed.append(process.pid)
            over.wait(0.1)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def test_a_killed_java_fails_spark_alone_and_the_last_good_models_go_on_speaking(
    market: Market, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    speaking = model_register.champions(market.access.reader)
    with without_models_of(market, "spark", tmp_path) as taken, killing("java") as killed:
        assert taken
        daily = run_job("daily", market, instance)
        refresh = run_job("refresh", market, instance)
    assert killed, "no java was started: nothing was tested"
    assert not daily.success
    assert daily.get_failed_step_keys() == {"models__spark"}
    failure = daily.failure_data_for_node("models__spark")
    assert failure is not None
    assert "training by spark" in str(failure.error)
    assert {"models/sklearn", "models/dask"} <= {key.to_user_string() for key in made(daily)}
    assert wait_until(lambda: not any(process.name() == "java" for process in descendants()), 10)
    # what the sensor asks for after such a run
    assert refresh.success
    assert model_register.champions(market.access.reader) == speaking
    (skill,) = refresh.asset_materializations_for_node("reports__skill")
    missing = skill.metadata["missing"].value
    assert len(missing) == len(taken)
    assert all(one.startswith("spark ") for one in missing)
    newest = ledger.rows(market.access.reader, last=len(Target))
    assert {row.forecast.model_version for row in newest} <= set(speaking.values())


def made(result: dg.ExecuteInProcessResult) -> list[dg.AssetKey]:
    return [event.asset_key for event in result.get_asset_materialization_events() if event.asset_key]
