"""Runs that a killed supervisor left in progress: failed at the next start, so that nothing waits for them."""

from pathlib import Path

import dagster as dg
import pytest

from streamlake_assets.commands.dagster_runs import fail_abandoned_runs
from streamlake_assets.commands.services import dagster_home
from streamlake_assets.definitions import defs
from streamlake_assets_tests.conftest import settings_in

IN_PROGRESS = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return dagster_home(settings_in(tmp_path))


def test_runs_in_progress_are_failed_once_and_ended_ones_left_alone(home: Path) -> None:
    job = defs().resolve_job_def("refresh")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        runs = {status: instance.create_run_for_job(job, status=status).run_id for status in (*IN_PROGRESS, *ENDED)}
    assert set(fail_abandoned_runs(home)) == {runs[status] for status in IN_PROGRESS}
    assert fail_abandoned_runs(home) == []
    with dg.DagsterInstance.from_config(str(home)) as instance:
        after = {run_id: instance.get_run_by_id(run_id) for run_id in runs.values()}
    for status, run_id in runs.items():
        found = after[run_id]
        assert found is not None
        assert found.status is (dg.DagsterRunStatus.FAILURE if status in IN_PROGRESS else status)


def test_a_new_folder_has_none(home: Path) -> None:
    assert fail_abandoned_runs(home) == []
