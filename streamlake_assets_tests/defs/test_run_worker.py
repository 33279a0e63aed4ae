"""A run whose process is killed: failed by Dagster, its pool slot freed, started again once by the real daemon."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from streamlake_assets.commands.services import environment
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets_tests.conftest import settings_in

WAIT_S = 90
LOCATION = """
import os, time
from pathlib import Path
import dagster as dg

@dg.op(pool="training")
def first_time_for_ever():
    mark = Path(os.environ["DAGSTER_HOME"]) / "started"
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(3600)

@dg.op
def fails():
    raise ValueError("a step that fails")

@dg.job
def killed():
    first_time_for_ever()

@dg.job
def failing():
    fails()

defs = dg.Definitions(jobs=[killed, failing])
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """A home with the project's own ``dagster.yaml``, only looked after more often."""
    (tmp_path / "location.py").write_text(LOCATION)
    found = environment(settings_in(tmp_path))
    file = Path(found["DAGSTER_HOME"]) / "dagster.yaml"
    slow = "  free_slots_after_run_end_seconds: 60\n"
    assert slow in file.read_text()
    file.write_text(
        file.read_text().replace(slow, "  free_slots_after_run_end_seconds: 2\n  poll_interval_seconds: 2\n")
    )
    return {**os.environ, **found}


@pytest.fixture
def instance(variables: dict[str, str], tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """That instance, with a daemon that launches what is submitted."""
    daemon = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-f", str(tmp_path / "location.py")]
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(daemon, env=variables, cwd=tmp_path, stdout=log, stderr=log)
    try:
        with dg.DagsterInstance.from_config(variables["DAGSTER_HOME"]) as opened:
            yield opened
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def launch(variables: dict[str, str], folder: Path, job: str) -> str:
    program = str(Path(sys.executable).with_name("dagster"))
    run_id = str(uuid.uuid4())
    subprocess.run(
        [program, "job", "launch", "-f", str(folder / "location.py"), "-j", job, "--run-id", run_id],
        env=variables,
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_killed_run_is_failed_and_retried_once_and_a_failed_step_is_not(
    variables: dict[str, str], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    instance.event_log_storage.set_concurrency_slots("training", 1)
    run_id = launch(variables, tmp_path, "killed")
    mark = Path(instance.root_directory) / "started"
    assert wait_until(lambda: mark.exists() and mark.read_text() != "", WAIT_S), (tmp_path / "daemon.log").read_text()
    failing = launch(variables, tmp_path, "failing")
    os.kill(int(mark.read_text()), signal.SIGKILL)
    assert wait_until(lambda: status(instance, run_id) is dg.DagsterRunStatus.FAILURE, WAIT_S)
    killed_at = time.time()

    def retries() -> list[dg.DagsterRun]:
        return [run for run in instance.get_runs() if run.parent_run_id == run_id]

    # the second time it ends, so the slot of the pool was free again
    assert wait_until(lambda: any(run.status is dg.DagsterRunStatus.SUCCESS for run in retries()), WAIT_S), (
        tmp_path / "daemon.log"
    ).read_text()
    assert len(retries()) == 1
    assert time.time() - killed_at < WAIT_S
    assert status(instance, failing) is dg.DagsterRunStatus.FAILURE
    assert not [run for run in instance.get_runs() if run.parent_run_id == failing]
