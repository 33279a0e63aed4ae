"""An engine that dies while the daily job trains: the others finish, the run fails and says why, serving goes on."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil
import pytest

from streamlake_assets.defs.jobs import refresh_needed
from streamlake_assets.market.targets import Target
from streamlake_assets.resources import StoreAccess
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.stores import ledger, model_register, schema
from streamlake_assets_tests.defs.conftest import Market, made, run_job, tables_restored
from streamlake_assets_tests.engine_contract import descendants

pytestmark = pytest.mark.servers


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@contextmanager
def apart(market: Market, home: Path) -> Iterator[Market]:
    """The market with models and training sets of its own, and the tables put back afterwards."""
    settings = market.settings.model_copy(update={"home": home})
    shutil.copytree(market.settings.data_dir, settings.data_dir)
    access = StoreAccess(settings)
    kept = (schema.model_versions, schema.champions, schema.forecasts, schema.forecast_scores, schema.signals)
    with tables_restored(market.settings, *kept):
        yield market._replace(settings=settings, access=access)
    access.close()


def drop_models_of(market: Market, engine: str) -> list[str]:
    """Remove the published models of an engine, so that it has to train; return their versions."""
    dropped = [m["version"] for m in market.access.models.catalogue().manifests if m["engine"] == engine]
    for version in dropped:
        shutil.rmtree(market.settings.data_dir / "models" / version)
    return dropped


SPARK = "org.apache.spark.deploy.SparkSubmit"


def below(word: str) -> set[int]:
    """Return the processes below this one that have a word in their command."""
    found = set()
    for process in descendants():
        with suppress(psutil.NoSuchProcess):
            if word in process.cmdline():
                found.add(process.pid)
    return found


@contextmanager
def killing(word: str) -> Iterator[set[int]]:
    """Kill every process that appears below this one with a word in its command."""
    killed: set[int] = set()
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            for pid in below(word) - killed:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
                    killed.add(pid)
            over.wait(0.1)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def test_a_killed_java_fails_spark_alone_and_the_others_go_on_speaking(
    market: Market, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with apart(market, tmp_path / "home") as copy:
        dropped = drop_models_of(copy, "spark")
        assert dropped
        with killing(SPARK) as killed:
            daily = run_job("daily", copy, instance)
        # what the sensor asks for after such a run
        asked = refresh_needed(dg.build_sensor_context(instance=instance, resources={"stores": copy.access}))
        refresh = run_job("refresh", copy, instance)
        speaking = model_register.champions(copy.access.reader)
        said = ledger.rows(copy.access.reader)
    assert killed, "no Spark was started: nothing was tested"
    assert not daily.success
    assert daily.get_failed_step_keys() == {"models__spark"}
    failure = daily.failure_data_for_node("models__spark")
    assert failure is not None
    assert "training by spark" in str(failure.error)
    assert {"models/sklearn", "models/dask"} <= made(daily)
    assert wait_until(lambda: not below(SPARK), 10)
    assert isinstance(asked, dg.SensorResult)
    assert refresh.success
    (skill,) = refresh.asset_materializations_for_node("reports__skill")
    missing = skill.metadata["missing"].value
    assert isinstance(missing, list)
    assert len([one for one in missing if str(one).startswith("spark ")]) == len(dropped)
    assert set(speaking) == set(Target)
    coming = max(row.forecast.session for row in said)
    spoke = {(row.forecast.target, row.forecast.model_version) for row in said if row.forecast.session == coming}
    assert set(speaking.items()) <= spoke
