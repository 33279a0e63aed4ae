"""Whether to train again, from real model folders: new data, the same data, another spec, a damaged folder."""

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamlake_assets.flows import retraining
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.retraining import LEAST_NEW_DATES
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.targets import Target
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets_tests.learning_runs import LINEAR_SPECS, train_all
from streamlake_assets_tests.series_data import planted_range

SPEC: ModelSpec = next(s for s in LINEAR_SPECS if s.target is Target.LOG_RANGE and not s.is_version_zero)
NEW_DATES = 70


@pytest.fixture(scope="module")
def series() -> list[SessionSeries]:
    return [planted_range(650, s, f"S{s}") for s in range(2)]


@pytest.fixture
def models(series: list[SessionSeries], tmp_path: Path) -> ModelFolder:
    """The spec, trained on all but the newest dates."""
    folder = ModelFolder(tmp_path / "models")
    run = train_all(series, until=from_ordinal(series[0].sessions[-NEW_DATES - 1]), specs=[SPEC])
    with folder.staging() as staged:
        run.models[0].save(staged)
        folder.publish(staged, run.models[0].manifest.to_dict())
    return folder


def test_a_spec_that_was_never_trained_is(series: list[SessionSeries], tmp_path: Path) -> None:
    decision = retraining.decide_all(ModelFolder(tmp_path / "none"), training_frame(series, None, 63), [SPEC])[
        SPEC.name
    ]
    assert (decision.retrain, decision.reason) == (True, "never trained")


def test_a_few_new_dates_are_no_reason(models: ModelFolder, series: list[SessionSeries]) -> None:
    until = from_ordinal(series[0].sessions[-NEW_DATES - 1 + LEAST_NEW_DATES - 1])
    decision = retraining.decide_all(models, training_frame(series, until, 63), [SPEC])[SPEC.name]
    assert not decision.retrain
    assert decision.facts.new_dates == LEAST_NEW_DATES - 1
    assert decision.reason == f"{LEAST_NEW_DATES - 1} new dates, at least {LEAST_NEW_DATES} are needed"


def test_as_old_as_it_was_judged_it_is_trained_with_facts_of_gain_and_cost(
    models: ModelFolder, series: list[SessionSeries]
) -> None:
    decision = retraining.decide_all(models, training_frame(series, None, 63), [SPEC])[SPEC.name]
    assert decision.retrain
    assert decision.facts.new_dates == NEW_DATES > SPEC.plan.step
    assert decision.facts.new_rows == 2 * NEW_DATES
    assert decision.expected_gain is not None
    assert decision.compute_cost_s is not None
    assert decision.facts.decay is not None
    assert decision.facts.decay.dates == NEW_DATES
    assert decision.facts.decay.live == pytest.approx(decision.facts.decay.expected, abs=0.15)


def test_a_date_with_rows_learned_from_and_rows_that_were_not_is_no_error(
    models: ModelFolder, series: list[SessionSeries]
) -> None:
    frame = training_frame(series, None, 63)
    learned = int(series[0].sessions[-NEW_DATES - 1])
    (of_both, *_) = np.flatnonzero(frame.target_sessions == learned)
    # as of a stock on a Friday, beside a coin whose next session is the Saturday
    targets = frame.target_sessions.copy()
    targets[of_both] += 3
    mixed = replace(frame, target_sessions=targets)
    decision = retraining.decide_all(models, mixed, [SPEC])[SPEC.name]
    assert decision.facts.new_rows == 2 * NEW_DATES + 1
    assert decision.facts.drifted == ()


def test_a_changed_spec_is_trained(models: ModelFolder, series: list[SessionSeries]) -> None:
    changed = msgspec.structs.replace(SPEC, features=SPEC.features[:-1])
    decision = retraining.decide_all(models, training_frame(series, None, 63), [changed])[SPEC.name]
    assert (decision.retrain, decision.reason) == (True, "changed: its spec")


def test_a_damaged_model_counts_as_never_trained(models: ModelFolder, series: list[SessionSeries]) -> None:
    (version,) = models.versions()
    os.truncate(models.open(version) / "model.skops", 50)
    decision = retraining.decide_all(models, training_frame(series, None, 63), [SPEC])[SPEC.name]
    assert decision.reason == "never trained"
