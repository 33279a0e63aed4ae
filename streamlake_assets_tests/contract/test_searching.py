"""The search as users start it: in a child of the engine, on the dates before the judged ones, changing nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamlake_assets.errors import IntegrityError, UsageError
from streamlake_assets.flows import training
from streamlake_assets.flows.searching import search_engine
from streamlake_assets.learning.search import BUDGET, FOLDS
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import settings_in
from streamlake_assets_tests.series_data import planted_range

DATES = 420
INSTRUMENTS = 5
FIRST_JUDGED = 252


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = settings_in(tmp_path)
    folder = settings.data_dir / "training"
    folder.mkdir(parents=True)
    frame = training_frame([planted_range(DATES, s, f"S{s}") for s in range(INSTRUMENTS)], None, settings.min_history)
    write_snapshot(frame, training.snapshot_path(folder))
    (folder / "training_set.offsets.json").write_text("{}")
    return settings


def test_every_candidate_gets_the_same_folds_before_the_judged_dates(settings: Settings) -> None:
    (found,) = search_engine(settings, "xgboost", Target.LOG_RANGE).searched
    assert found.rows <= INSTRUMENTS * FIRST_JUDGED
    assert [trial["fits"] for trial in found.trials] == [FOLDS] * BUDGET
    best = min(found.trials, key=lambda trial: trial["rmse"])
    assert found.changes.items() <= best["changes"].items()  # the spec itself may say some of it
    assert found.skill != (0.0, 0.0, 0.0)
    assert (found.skill == found.chosen_skill) is (best["changes"] == {})
    assert not (settings.data_dir / "models").exists(), "a search publishes nothing"


def test_an_engine_without_anything_to_search_is_said(settings: Settings) -> None:
    with pytest.raises(
        UsageError, match=r"nothing to search on engine 'arima'; there are dask, sklearn, spark, xgboost"
    ):
        search_engine(settings, "arima")


def test_before_the_first_training_set_it_says_what_to_make(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="make features/training_set first"):
        search_engine(settings_in(tmp_path), "xgboost")


def test_a_training_set_that_is_not_whole_is_refused_by_the_command_in_one_line(settings: Settings) -> None:
    path = training.snapshot_path(settings.data_dir / "training")
    path.write_bytes(path.read_bytes()[:-200])
    command = [sys.executable, "-m", "streamlake_assets.cli", "models", "search", "xgboost"]
    done = subprocess.run(command, env=settings.as_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == IntegrityError.exit_code
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_tells_it_as_json_too(settings: Settings) -> None:
    command = [sys.executable, "-m", "streamlake_assets.cli", "models", "search", "xgboost", "--target", "log_range"]
    done = subprocess.run(
        [*command, "--json"], env=settings.as_environment(), capture_output=True, text=True, check=True
    )
    (one,) = json.loads(done.stdout)["searched"]
    assert one["name"].startswith("log_range")
