"""Search of hyper-parameters: in time order, inside the rows it may see, with one budget for all engines."""

import dataclasses
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import EngineBase, check_params, engine
from streamlake_assets.learning.search import BUDGET, FOLDS, candidates, inner_folds, search
from streamlake_assets.learning.spec import (
    Algorithm,
    ModelSpec,
    Params,
    baseline_spec,
    default_specs,
    forest_spec,
    linear_spec,
    reference_specs,
)
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import FloatArray
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import planted_range

RANGE = Target.LOG_RANGE
FOREST = forest_spec(RANGE, "sklearn")
SMALL: tuple[Params, ...] = (
    {"trees": 10, "min_leaf_rows": 250},
    {"trees": 10, "min_leaf_rows": 20},
    {"trees": 10, "min_leaf_rows": 120},
)


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return training_frame([planted_range(700, s, f"S{s}") for s in range(2)], None, 63)


@pytest.fixture(scope="module")
def early(frame: TrainingFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    dates = np.unique(frame.sessions)
    return np.flatnonzero(frame.sessions < dates[len(dates) * 2 // 3])


@dataclasses.dataclass
class Noted:
    """A model that says the share of the last feature, and what it was asked."""

    share: float

    def predict(self, x: FloatArray) -> FloatArray:
        return np.full(len(x), self.share)


class Noting(EngineBase):
    """Fits nothing, notes the rows it was given, and refuses a share that is asked for by the word "no"."""

    name = "sklearn"

    def __init__(self) -> None:
        self.given: list[int] = []

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> Any:
        return self.fit_rows(spec, x)

    def fit_rows(self, spec: ModelSpec, rows: FloatArray) -> Any:
        if spec.params["share"] == "no":
            raise UsageError("will not")
        self.given.append(len(rows))
        return Noted(float(spec.params["share"]))


def noting_spec(**params: bool | float | str) -> ModelSpec:
    return msgspec.structs.replace(linear_spec(RANGE, "sklearn"), params=params)


def test_every_engine_has_the_same_budget_and_starts_from_its_own_spec() -> None:
    for spec in (*default_specs(("sklearn", "dask", "spark")), *reference_specs()):
        if spec.is_version_zero:
            continue
        tried = candidates(spec)
        assert tried[0] == {}
        assert len(tried) == (1 if spec.algorithm is Algorithm.LINEAR else BUDGET)
        made = [{**spec.params, **change} for change in tried]
        assert len({json.dumps(params, sort_keys=True) for params in made}) == len(tried)
        for params in made:
            assert set(params) == set(spec.params)
            check_params(spec.name, params)
    with pytest.raises(UsageError, match="nothing to search in a baseline"):
        candidates(baseline_spec(RANGE))


def test_inner_folds_go_forward_in_time_and_stay_inside(
    frame: TrainingFrame, early: np.ndarray[Any, np.dtype[np.int64]]
) -> None:
    folds = inner_folds(FOREST, frame, early)
    assert len(folds) == FOLDS
    tested = np.concatenate([fold.test for fold in folds])
    assert len(np.unique(tested)) == len(tested)
    assert set(tested) | set(folds[-1].train) <= set(early)
    for fold in folds:
        assert frame.target_sessions[fold.train].max() < frame.sessions[fold.test].min()
        assert np.isin(frame.sessions[fold.test], frame.sessions[fold.train]).sum() == 0
    dates = len(np.unique(frame.sessions[early]))
    assert len(np.unique(frame.sessions[tested])) == dates - dates // 2


def test_the_future_beyond_the_rows_changes_nothing(
    frame: TrainingFrame, early: np.ndarray[Any, np.dtype[np.int64]]
) -> None:
    later = np.setdiff1d(np.arange(len(frame)), early)
    y = frame.y[RANGE].copy()
    y[later] = y[later][::-1] * 3
    other = dataclasses.replace(frame, y={**frame.y, RANGE: y})
    one, two = (search(FOREST, engine("sklearn"), rows, rows=early, changes=SMALL).to_dict() for rows in (frame, other))
    assert one == two
    assert one != search(FOREST, engine("sklearn"), other, changes=SMALL).to_dict()


def test_the_candidate_with_the_smallest_error_is_chosen(frame: TrainingFrame) -> None:
    """The range doubles after a fall: leaves of half the rows cannot follow that."""
    found = search(FOREST, engine("sklearn"), frame, changes=SMALL)
    errors = [trial.rmse for trial in found.trials if trial.rmse is not None]
    assert len(errors) == 3
    best = int(np.argmin(errors))
    assert best != 0
    assert found.chosen == msgspec.structs.replace(FOREST, params={**FOREST.params, **SMALL[best]})
    skills = [trial.skill for trial in found.trials if trial.skill is not None]
    assert np.argmax(skills) == best
    assert skills[best] > 0.2
    json.dumps(found.to_dict(), allow_nan=False)


def test_of_equal_candidates_the_earlier_is_chosen(frame: TrainingFrame) -> None:
    found = search(noting_spec(share=1.0), Noting(), frame, changes=({}, {"share": 1.0}, {"share": 9.0}))
    assert found.trials[0].rmse == found.trials[1].rmse
    assert found.chosen is not None
    assert found.chosen.params == {"share": 1.0}
    found = search(noting_spec(share=9.0), Noting(), frame, changes=({}, {"share": 1.0}, {"share": 1}))
    assert found.chosen.params == {"share": 1.0}
    assert isinstance(found.chosen.params["share"], float)


def test_each_candidate_costs_as_many_fits_as_there_are_folds(frame: TrainingFrame) -> None:
    worker = Noting()
    found = search(noting_spec(share=1.0), worker, frame, changes=({}, {"share": 2.0}))
    assert [trial.fits for trial in found.trials] == [FOLDS, FOLDS]
    assert worker.given[:FOLDS] == worker.given[FOLDS:] == sorted(worker.given[:FOLDS])


def test_a_refused_candidate_is_never_chosen_and_says_why(frame: TrainingFrame) -> None:
    found = search(noting_spec(share="no"), Noting(), frame, changes=({}, {"share": 5.0}))
    assert (found.trials[0].rmse, found.trials[0].skill, found.trials[0].reason) == (None, None, "will not")
    assert found.chosen.params == {"share": 5.0}
    with pytest.raises(UsageError, match="no candidate can be fitted: will not"):
        search(noting_spec(share="no"), Noting(), frame, changes=({}, {"share": "no"}))


def test_least_squares_is_returned_as_it_is(frame: TrainingFrame) -> None:
    spec = linear_spec(RANGE, "spark")
    found = search(spec, engine("spark"), frame)
    assert found.chosen == spec
    assert [trial.fits for trial in found.trials] == [0]


def test_too_few_dates_are_said(frame: TrainingFrame) -> None:
    with pytest.raises(UsageError, match="dates are too few to search in"):
        search(FOREST, engine("sklearn"), frame, rows=np.arange(12))
