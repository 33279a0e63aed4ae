"""The Dask engine on real worker processes: the right model, served without Dask, and no worker left behind."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from distributed.collections import HeapSet
from sklearn.linear_model import LinearRegression

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.learning.dask_engine import DaskEngine
from streamlake_assets.learning.engines import FittedModel, Resources
from streamlake_assets.learning.sklearn_engine import SklearnEngine
from streamlake_assets.learning.spec import Algorithm, ModelSpec, forest_spec, linear_spec
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets_tests.engine_contract import (
    RANGE,
    check_bad_params_are_refused,
    check_comes_back_in_a_fresh_process,
    check_damage_is_refused,
    descendants,
    line_of,
    listening_addresses,
    made_frame,
    rows_of,
    smaller,
    trees_of,
    with_params,
)

LINEAR = linear_spec(RANGE, "dask")
BLOCKS = smaller(forest_spec(RANGE, "dask"))
FOREST = smaller(forest_spec(RANGE, "dask", Algorithm.FOREST))
LAST_DIGITS = 1e-12
"""Linear algebra on a worker rounds by where in memory the rows happen to lie."""
SPECS = {"linear": LINEAR, "block_forest": BLOCKS, "forest": FOREST}


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return made_frame()


@pytest.fixture(scope="module")
def worker() -> Iterator[DaskEngine]:
    engine = DaskEngine(Resources(cores=2))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def models(worker: DaskEngine, frame: TrainingFrame) -> dict[str, FittedModel]:
    return {name: worker.fit(spec, *rows_of(frame, spec)) for name, spec in SPECS.items()}


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return SPECS[str(request.param)]


def test_saved_models_predict_the_same_in_a_fresh_process_without_dask(
    models: dict[str, FittedModel], frame: TrainingFrame, tmp_path: Path
) -> None:
    own = {name: (SPECS[name], model) for name, model in models.items()}
    check_comes_back_in_a_fresh_process(own, frame, tmp_path)


def test_a_damaged_file_is_refused(spec: ModelSpec, models: dict[str, FittedModel], tmp_path: Path) -> None:
    check_damage_is_refused(DaskEngine(), spec, models[spec.algorithm.value], tmp_path)


def test_fitting_again_gives_the_same_model_and_another_seed_another(
    spec: ModelSpec, worker: DaskEngine, models: dict[str, FittedModel], frame: TrainingFrame
) -> None:
    x, y = rows_of(frame, spec)
    known = models[spec.algorithm.value].predict(x)
    again = worker.fit(spec, x, y).predict(x)
    if spec.algorithm is Algorithm.LINEAR:
        np.testing.assert_allclose(again, known, rtol=LAST_DIGITS)
    else:
        np.testing.assert_array_equal(again, known)
        assert not np.array_equal(worker.fit(msgspec.structs.replace(spec, seed=1), x, y).predict(x), known)


def test_the_arrays_forecast_as_the_library_does(spec: ModelSpec, worker: DaskEngine, frame: TrainingFrame) -> None:
    x, y = rows_of(frame, spec)
    rows = worker.transfer(spec, x, y)
    model = worker.fit_rows(spec, rows)
    assert model.by_library is not None
    np.testing.assert_allclose(model.predict(x), model.by_library(x), rtol=1e-12, atol=1e-12)


def test_senseless_hyper_parameters_are_said(spec: ModelSpec, worker: DaskEngine, frame: TrainingFrame) -> None:
    check_bad_params_are_refused(worker, spec, frame)


def test_the_linear_model_is_least_squares_to_the_last_digits(
    models: dict[str, FittedModel], frame: TrainingFrame
) -> None:
    expected = LinearRegression().fit(*rows_of(frame, LINEAR))
    found = line_of(models["linear"])
    np.testing.assert_allclose(found.coefficients, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(found.intercept, expected.intercept_, rtol=1e-10)


def test_features_that_never_change_get_no_coefficient(worker: DaskEngine, frame: TrainingFrame) -> None:
    """Dask-ML refuses more than one such feature; least squares of smallest norm gives them zero."""
    x, y = rows_of(frame, LINEAR)
    x = x.copy()
    x[:, 2], x[:, 5] = 0.7, 0.0
    expected = LinearRegression().fit(x, y)
    found = line_of(worker.fit(LINEAR, x, y))
    np.testing.assert_allclose(found.coefficients, expected.coef_, rtol=1e-8, atol=1e-12)
    assert found.coefficients[[2, 5]].tolist() == [0.0, 0.0]
    with pytest.raises(UsageError, match="no feature ever changes"):
        worker.fit(LINEAR, np.ones_like(x), y)


def test_its_forest_is_scikit_learns_own(models: dict[str, FittedModel], frame: TrainingFrame) -> None:
    own = smaller(forest_spec(RANGE, "sklearn"))
    x, y = rows_of(frame, own)
    np.testing.assert_array_equal(models["forest"].predict(x), SklearnEngine().fit(own, x, y).predict(x))


def test_each_tree_of_a_block_forest_saw_its_block_only(worker: DaskEngine, frame: TrainingFrame) -> None:
    """Targets of one block say so: trees that saw all rows would know them all."""
    spec = with_params(BLOCKS, bootstrap=False, blocks=4, trees=8)
    x, _ = rows_of(frame, spec)
    y = np.empty(len(x))
    for number, part in enumerate(np.array_split(np.random.default_rng(spec.seed).permutation(len(x)), 4)):
        y[part] = number + 1e-3 * np.arange(len(part)) / len(part)
    forest = trees_of(worker.fit(spec, x, y))
    assert forest.trees == 8
    seen = [forest.value[start:end] for start, end in zip(forest.offsets[:-1], forest.offsets[1:], strict=True)]
    assert [set(np.floor(values).tolist()) for values in seen] == [{n} for n in (0, 0, 1, 1, 2, 2, 3, 3)]


def test_trees_that_cannot_be_shared_out_are_said(worker: DaskEngine, frame: TrainingFrame) -> None:
    spec = with_params(BLOCKS, trees=10, blocks=4)
    with pytest.raises(UsageError, match="10 trees cannot be shared out to 4 blocks"):
        worker.fit(spec, *rows_of(frame, spec))


def test_an_unopened_engine_says_so(frame: TrainingFrame) -> None:
    with pytest.raises(ServerError, match="open the engine first"):
        DaskEngine().transfer(LINEAR, *rows_of(frame, LINEAR))


def test_a_scheduler_that_is_not_there_is_said_in_time() -> None:
    with pytest.raises(ServerError, match="Dask failed while starting"):
        DaskEngine(Resources(dask_scheduler="tcp://127.0.0.1:9", start_timeout_s=1.0)).open()


def test_a_scheduler_elsewhere_is_used_and_left_running(worker: DaskEngine, frame: TrainingFrame) -> None:
    worker.open()
    assert worker.scheduler is not None
    guest = DaskEngine(Resources(dask_scheduler=worker.scheduler))
    x, y = rows_of(frame, LINEAR)
    fitted = guest.fit(LINEAR, x, y)
    guest.close()
    np.testing.assert_allclose(fitted.predict(x), worker.fit(LINEAR, x, y).predict(x), rtol=LAST_DIGITS)


def test_what_the_scheduler_itself_raises_is_said_and_what_a_library_raises_stays(worker: DaskEngine) -> None:
    """Of lost rows the scheduler may queue tasks without a priority, and fails to compare them."""
    queued: HeapSet[frozenset[int]] = HeapSet(key=lambda task: None if 1 in task else (0, 1))
    queued.add(frozenset({1}))
    said = "Dask failed while fitting it: TypeError '<' not supported"
    with pytest.raises(ServerError, match=said), worker.errors("fitting it"):
        queued.add(frozenset({2}))
    with pytest.raises(ValueError, match="inhomogeneous"), worker.errors("fitting it"):
        np.asarray([[1.0], [1.0, 2.0]])


def test_nothing_listens_beyond_this_machine(worker: DaskEngine) -> None:
    worker.open()
    assert listening_addresses([psutil.Process(), *descendants()]) == {"127.0.0.1"}


def test_killed_workers_are_an_error_in_time_and_closing_leaves_none(
    frame: TrainingFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(descendants())
    engine = DaskEngine(Resources(cores=2))
    engine.open()
    rows = engine.transfer(BLOCKS, *rows_of(frame, BLOCKS))
    workers = set(descendants()) - before
    assert len(workers) == 2
    for process in workers:
        process.kill()
    with pytest.raises(ServerError, match=r"Dask failed while fitting log_range_block_forest"):
        engine.fit_rows(BLOCKS, rows)
    engine.close()
    assert set(descendants()) - before == set()
    assert not list(tmp_path.glob("streamlake-dask-*"))
    engine.close()
