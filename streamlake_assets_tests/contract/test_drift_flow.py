"""Drift as a verdict, from real model folders and a real training set: calm, shifted, too few dates, no model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.drift import judge_drift
from streamlake_assets.flows.training import snapshot_path
from streamlake_assets.learning.snapshot import write_snapshot
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.drift import MIN_ROWS, WINDOW_DATES
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import SessionSeries, from_ordinal, ordinal
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import Settings
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets_tests.conftest import settings_in
from streamlake_assets_tests.learning_runs import LINEAR_SPECS, train_all
from streamlake_assets_tests.series_data import random_walks

SPEC: ModelSpec = next(
    s for s in LINEAR_SPECS if s.target is Target.LOG_RANGE and not s.is_version_zero and s.engine == "sklearn"
)
INSTRUMENTS = 5
NEW_DATES = 2 * WINDOW_DATES + 3


@pytest.fixture(scope="module")
def series() -> list[SessionSeries]:
    return random_walks(720, 7, INSTRUMENTS)


@pytest.fixture(scope="module")
def models(series: list[SessionSeries], tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The spec, trained on all but the newest dates."""
    folder = ModelFolder(tmp_path_factory.mktemp("drift") / "models")
    run = train_all(series, until=from_ordinal(series[0].sessions[-NEW_DATES - 1]), specs=[SPEC])
    with folder.staging() as staged:
        run.models[0].save(staged)
        folder.publish(staged, run.models[0].manifest.to_dict())
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def put(settings: Settings, frame: TrainingFrame) -> None:
    path = snapshot_path(settings.data_dir / "training")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_snapshot(frame, path)


def shifted(frame: TrainingFrame, name: str, dates: int) -> TrainingFrame:
    """Return the frame with one feature far from where it was, over its newest dates."""
    x = frame.x.copy()
    x[frame.sessions >= np.unique(frame.sessions)[-dates], frame.names.index(name)] += 5.0
    return replace(frame, x=x)


def test_rows_that_come_from_where_those_before_came_from_pass(
    models: ModelFolder, series: list[SessionSeries], settings: Settings
) -> None:
    put(settings, training_frame(series, None, 63))
    found = judge_drift(models, settings)
    assert found.passed
    assert "no feature drifted" in found.text
    (judged,) = found.facts["judged"].values()
    assert judged == len(SPEC.features)
    ((old, new),) = found.facts["rows"].values()
    assert old > 8 * MIN_ROWS
    assert new == INSTRUMENTS * NEW_DATES


def test_a_feature_that_moved_for_two_windows_is_named_with_its_index_and_limit(
    models: ModelFolder, series: list[SessionSeries], settings: Settings
) -> None:
    put(settings, shifted(training_frame(series, None, 63), SPEC.features[0], NEW_DATES))
    found = judge_drift(models, settings)
    assert not found.passed
    assert found.text.endswith(f"above the limit twice in a row: {SPEC.features[0]}")
    ((session, drifted),) = found.facts["drifted"].items()
    assert session in found.text
    newest, previous, limit = drifted[SPEC.features[0]]
    assert min(newest, previous) > limit >= found.facts["limit"]


def test_one_window_alone_is_no_drift(models: ModelFolder, series: list[SessionSeries], settings: Settings) -> None:
    put(settings, shifted(training_frame(series, None, 63), SPEC.features[0], WINDOW_DATES))
    assert judge_drift(models, settings).passed


def test_a_feature_that_no_model_takes_may_move(
    models: ModelFolder, series: list[SessionSeries], settings: Settings
) -> None:
    frame = training_frame(series, None, 63)
    other = next(name for name in frame.names if name not in SPEC.features)
    put(settings, shifted(frame, other, NEW_DATES))
    assert judge_drift(models, settings).passed


def test_too_few_dates_since_the_training_are_said_and_pass(
    models: ModelFolder, series: list[SessionSeries], settings: Settings
) -> None:
    until = from_ordinal(series[0].sessions[-NEW_DATES + 9])
    put(settings, shifted(training_frame(series, until, 63), SPEC.features[0], 5))
    found = judge_drift(models, settings)
    assert found.passed
    assert f"two windows need {2 * WINDOW_DATES}" in found.text


def test_dates_of_which_only_some_rows_were_learned_from_are_not_held_against_themselves(
    models: ModelFolder, series: list[SessionSeries], settings: Settings
) -> None:
    """A market that trades at the weekend has learned from Friday's row, another has not."""
    frame = training_frame(series, None, 63)
    last = ordinal(from_ordinal(series[0].sessions[-NEW_DATES - 1]))
    target_sessions = frame.target_sessions.copy()
    target_sessions[(frame.target_sessions == last) & (frame.instrument == 0)] += 2
    put(settings, replace(frame, target_sessions=target_sessions))
    assert judge_drift(models, settings).passed


def test_without_a_model_there_is_nothing_to_drift_from(
    series: list[SessionSeries], settings: Settings, tmp_path: Path
) -> None:
    put(settings, training_frame(series, None, 63))
    found = judge_drift(ModelFolder(tmp_path / "none"), settings)
    assert found.passed
    assert "no model" in found.text


def test_a_model_of_an_engine_that_trains_no_more_is_not_judged(
    models: ModelFolder, series: list[SessionSeries], settings: Settings
) -> None:
    put(settings, shifted(training_frame(series, None, 63), SPEC.features[0], NEW_DATES))
    assert judge_drift(models, settings.model_copy(update={"engines": "spark"})).passed


def test_without_a_training_set_nothing_is_judged(models: ModelFolder, settings: Settings) -> None:
    with pytest.raises(UsageError):
        judge_drift(models, settings)
