"""The asset of the training benchmark: it stores what it measured, shows it, is judged by it, runs on demand only."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from streamlake_assets.definitions import defs
from streamlake_assets.defs import benchmark, reports
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import benchmark as flow
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.market.frames import training_frame
from streamlake_assets.settings import Settings
from streamlake_assets_tests.benchmark_data import QUICK, certified, failure, in_place_of_processes
from streamlake_assets_tests.series_data import planted_range


class Reports:
    """The part of the document store that the asset uses."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    def put_report(self, name: str, report: dict[str, Any]) -> None:
        self.kept[name] = report

    def report(self, name: str) -> dict[str, Any] | None:
        return self.kept.get(name)


@pytest.fixture
def access(tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(documents=Reports(), settings=Settings(home=tmp_path))


@pytest.mark.parametrize("valid", [True, False])
def test_it_stores_shows_and_is_judged(access: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, valid: bool) -> None:
    frame = training_frame([planted_range(200, s, f"S{s}") for s in range(2)], None, 63)
    write_snapshot(frame, access.settings.data_dir / "training" / "training_set.parquet")
    monkeypatch.setitem(flow.PROFILES, "quick", QUICK)
    children = in_place_of_processes(monkeypatch)
    children["certificate"] = certified() if valid else certified(failure("spark", "forest", "too far apart"))
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [benchmark.benchmark, benchmark.benchmark_is_valid], resources={"stores": access}, instance=instance
        )
    assert done.success
    (judged,) = done.get_asset_check_evaluations()
    assert judged.passed is valid, judged.description
    metadata = done.asset_materializations_for_node("reports__benchmark")[0].metadata
    page = str(metadata["page"].value)
    assert ("data:image/svg+xml;base64," in page) is valid
    assert ("too far apart" in page) is not valid
    assert metadata["run_id"].value == access.documents.kept["benchmark"]["run_id"]
    assert (metadata["measurements"].value > 0) is valid


def test_without_a_training_set_it_says_what_to_make_first(access: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="features/training_set first"):
        flow.make_benchmark(access.documents, access.settings, "quick", lambda _: None)


def test_nothing_but_a_hand_runs_it() -> None:
    assert benchmark.benchmark.key in reports.ON_DEMAND
    location = defs()
    jobs = {job.name: location.resolve_job_def(job.name) for job in location.jobs or []}
    made_by = {name for name, job in jobs.items() if benchmark.benchmark.key in job.asset_layer.executable_asset_keys}
    assert made_by == {"reports"}
    assert {schedule.job_name for schedule in location.schedules or []} == {"daily"}
