"""Engines in this very process: fit what the spec says, come back equal, refuse what is not their own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import FunctionTransformer

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.engines import ENGINES, FittedModel, Resources, engine
from streamlake_assets.learning.sklearn_engine import SklearnEngine
from streamlake_assets.learning.spec import (
    Algorithm,
    ModelSpec,
    baseline_spec,
    default_specs,
    linear_spec,
    reference_specs,
)
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.engine_contract import (
    check_bad_params_are_refused,
    check_bad_rows_are_refused,
    check_comes_back_in_a_fresh_process,
    check_damage_is_refused,
    made_frame,
    rows_of,
    smaller,
    trees_of,
    unopened,
    with_params,
)

SPECS = {spec.name: smaller(spec) for spec in (*default_specs(), *reference_specs())}
OF_RANGE = sorted(name for name in SPECS if name.startswith("log_range") and name != "log_range_baseline")
LINEAR = SPECS["log_range_linear"]
FOREST = SPECS["log_range_forest"]


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return made_frame()


@pytest.fixture(scope="module")
def models(frame: TrainingFrame) -> dict[str, FittedModel]:
    return {name: engine(spec.engine).fit(spec, *rows_of(frame, spec)) for name, spec in SPECS.items()}


@pytest.fixture(params=OF_RANGE)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return SPECS[str(request.param)]


def test_saved_models_predict_the_same_in_a_fresh_process(
    models: dict[str, FittedModel], frame: TrainingFrame, tmp_path: Path
) -> None:
    own = {name: (SPECS[name], model) for name, model in models.items()}
    check_comes_back_in_a_fresh_process(own, frame, tmp_path)


def test_fitting_again_on_another_number_of_cores_gives_the_same_bits(
    spec: ModelSpec, models: dict[str, FittedModel], frame: TrainingFrame
) -> None:
    x, y = rows_of(frame, spec)
    alone = engine(spec.engine, Resources(cores=1)).fit(spec, x, y)
    np.testing.assert_array_equal(alone.predict(x), models[spec.name].predict(x))


def test_another_seed_draws_another_forest(models: dict[str, FittedModel], frame: TrainingFrame) -> None:
    x, y = rows_of(frame, FOREST)
    other = SklearnEngine().fit(msgspec.structs.replace(FOREST, seed=1), x, y)
    assert not np.array_equal(other.predict(x), models[FOREST.name].predict(x))


def test_a_row_is_forecast_alone_as_among_others(
    spec: ModelSpec, models: dict[str, FittedModel], frame: TrainingFrame
) -> None:
    x, _ = rows_of(frame, spec)
    together = models[spec.name].predict(x)
    for i in range(0, len(x), 97):
        np.testing.assert_array_equal(models[spec.name].predict(x[i : i + 1]), together[i : i + 1])


def test_the_arrays_forecast_as_the_library_does(spec: ModelSpec, models: dict[str, Any], frame: TrainingFrame) -> None:
    x, _ = rows_of(frame, spec)
    # XGBoost adds up in single precision
    tolerance = 1e-5 if spec.engine == "xgboost" else 1e-12
    model = models[spec.name]
    np.testing.assert_allclose(model.predict(x), model.by_library(x), rtol=tolerance, atol=tolerance)
    assert np.ptp(model.predict(x)) > 0


def test_no_hyper_parameter_may_be_missing_unknown_or_senseless(spec: ModelSpec, frame: TrainingFrame) -> None:
    check_bad_params_are_refused(engine(spec.engine), spec, frame)


def test_rows_that_cannot_be_learned_from_are_said(spec: ModelSpec) -> None:
    check_bad_rows_are_refused(engine(spec.engine), spec)


@pytest.mark.parametrize("name", ["dask", "spark"])
def test_an_engine_with_processes_starts_none_for_bad_rows(name: str, frame: TrainingFrame) -> None:
    spec = linear_spec(Target.LOG_RANGE, name)
    check_bad_rows_are_refused(unopened(name), spec)
    check_bad_params_are_refused(unopened(name), spec, frame)


def test_versions_of_the_libraries_are_named() -> None:
    for name in ENGINES:
        versions = engine(name).library_versions()
        assert versions
        assert all(versions.values())


def test_a_damaged_file_is_refused(spec: ModelSpec, models: dict[str, FittedModel], tmp_path: Path) -> None:
    check_damage_is_refused(engine(spec.engine), spec, models[spec.name], tmp_path)


@pytest.mark.parametrize("name", ENGINES)
def test_an_empty_folder_is_refused(name: str, tmp_path: Path) -> None:
    worker = engine(name)
    for algorithm in worker.algorithms:
        with pytest.raises(ModelRefusedError):
            worker.load(msgspec.structs.replace(LINEAR, engine=name, algorithm=algorithm), tmp_path)


def test_an_algorithm_that_an_engine_does_not_have_is_refused(frame: TrainingFrame, tmp_path: Path) -> None:
    stranger = msgspec.structs.replace(FOREST, algorithm=Algorithm.XGBOOST)
    with pytest.raises(UsageError, match="has no xgboost; it has boosting, forest, linear"):
        SklearnEngine().fit(stranger, *rows_of(frame, stranger))
    with pytest.raises(ModelRefusedError, match="has no xgboost"):
        SklearnEngine().load(stranger, tmp_path)


def test_a_model_is_loaded_whatever_its_hyper_parameters_were_called_then(
    models: dict[str, FittedModel], frame: TrainingFrame, tmp_path: Path
) -> None:
    """What a spec has to say may change with time; a model that was published before must still serve."""
    models[FOREST.name].save(tmp_path)
    old = msgspec.structs.replace(FOREST, params={"number_of_trees": 8})
    x, _ = rows_of(frame, FOREST)
    np.testing.assert_array_equal(SklearnEngine().load(old, tmp_path).predict(x), models[FOREST.name].predict(x))


def test_a_baseline_that_says_another_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text('{"units": 0.5}')
    with pytest.raises(ModelRefusedError, match=r"0\.5"):
        engine("baseline").load(baseline_spec(Target.LOG_RANGE), tmp_path)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UsageError, match="'magic'"):
        engine("magic")


@pytest.mark.parametrize(
    ("name", "package"),
    [("sklearn", "skops"), ("xgboost", "xgboost"), ("dask", "dask_ml"), ("spark", "pyspark")],
)
def test_a_missing_library_is_named(
    name: str, package: str, frame: TrainingFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"streamlake_assets.learning.{name}_engine", raising=False)
    spec = SPECS["log_range_xgboost"] if name == "xgboost" else linear_spec(Target.LOG_RANGE, name)
    with pytest.raises(UsageError, match=f"engine {name} cannot be used: package {package}"):
        engine(name).fit(spec, *rows_of(frame, spec))


def test_the_linear_model_is_least_squares(frame: TrainingFrame) -> None:
    x, y = rows_of(frame, LINEAR)
    design = np.column_stack([np.ones(len(x)), x])
    expected = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(SklearnEngine().fit(LINEAR, x, y).predict(x), expected, rtol=1e-9)


def test_the_least_leaf_counts_a_row_as_often_as_it_was_drawn(frame: TrainingFrame) -> None:
    """As Spark does; counted once each, leaves of 20 rows would hold some 30 drawn ones."""
    estimator = SklearnEngine().fit(with_params(FOREST, max_depth=12), *rows_of(frame, FOREST)).by_library.__self__
    drawn = np.concatenate(
        [t.tree_.weighted_n_node_samples[t.tree_.children_left == -1] for t in estimator.estimators_]
    )
    assert drawn.min() == 20


def test_a_forest_grows_as_its_spec_says(models: dict[str, FittedModel]) -> None:
    forest = trees_of(models[FOREST.name])
    assert (forest.trees, forest.depth) == (8, 4)


def test_a_hostile_type_is_refused_and_its_code_never_runs(spec: ModelSpec, tmp_path: Path) -> None:
    """A transformer that carries a function: a loader that trusts the file would run it."""
    ran = tmp_path / "ran"
    hostile = FunctionTransformer(os.system, kw_args={"command": f"touch {ran}"})
    inside = RandomForestRegressor()
    inside.estimators_ = [hostile]
    for estimator in (hostile, inside):
        skops.io.dump(estimator, tmp_path / "model.skops")
        with pytest.raises(ModelRefusedError, match="not allowed" if spec.engine == "sklearn" else "cannot be read"):
            engine(spec.engine).load(spec, tmp_path)
    assert not ran.exists()


def test_trees_that_lead_in_circles_are_refused(models: dict[str, Any], tmp_path: Path) -> None:
    """Trusted types, hostile numbers: a walk through such a tree would not end."""
    for name in ("log_range_forest", "log_range_boosting"):
        estimator = skops.io.loads(skops.io.dumps(models[name].by_library.__self__), trusted=_types(name))
        if name == "log_range_forest":
            estimator.estimators_[3].tree_.children_left[0] = 0
        else:
            estimator._predictors[3][0].nodes["left"][0] = 0
        skops.io.dump(estimator, tmp_path / "model.skops")
        with pytest.raises(ModelRefusedError, match="not behind its parent"):
            SklearnEngine().load(SPECS[name], tmp_path)
    models["log_range_xgboost"].save(tmp_path)
    body = json.loads((tmp_path / "model.json").read_text())
    body["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"][0] = 0
    (tmp_path / "model.json").write_text(json.dumps(body))
    with pytest.raises(ModelRefusedError, match="not behind its parent"):
        engine("xgboost").load(SPECS["log_range_xgboost"], tmp_path)


def _types(name: str) -> list[str]:
    known = {
        "log_range_forest": "sklearn.tree._tree.Tree",
        "log_range_boosting": "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    }
    return [known[name]]


def test_another_estimator_is_refused(frame: TrainingFrame, tmp_path: Path) -> None:
    x, y = rows_of(frame, LINEAR)
    for estimator, name in ((Ridge().fit(x, y), "Ridge"), (RandomForestRegressor(), "RandomForestRegressor")):
        skops.io.dump(estimator, tmp_path / "model.skops")
        with pytest.raises(ModelRefusedError, match=name):
            SklearnEngine().load(LINEAR, tmp_path)
    with pytest.raises(ModelRefusedError, match="not a fitted forest"):
        SklearnEngine().load(FOREST, tmp_path)


def test_a_model_of_other_features_is_refused(
    spec: ModelSpec, models: dict[str, FittedModel], frame: TrainingFrame, tmp_path: Path
) -> None:
    models[spec.name].save(tmp_path)
    fewer = msgspec.structs.replace(spec, features=spec.features[:-1])
    with pytest.raises(ModelRefusedError, match="7"):
        engine(spec.engine).load(fewer, tmp_path)
    if spec.algorithm is Algorithm.LINEAR:
        x, y = rows_of(frame, spec)
        skops.io.dump(LinearRegression().fit(x, np.column_stack([y, y])), tmp_path / "model.skops")
        with pytest.raises(ModelRefusedError):
            SklearnEngine().load(spec, tmp_path)


def test_default_specs_are_told_apart_by_name_and_engine() -> None:
    specs = [*default_specs(("sklearn", "dask", "spark")), *reference_specs()]
    assert len({(s.name, s.engine) for s in specs}) == len(specs) == 2 + 3 * 4 + 4
    assert {s.name for s in specs if s.engine == "dask"} == {
        f"{target.value}_{kind}" for target in Target for kind in ("linear", "block_forest")
    }
    for spec in specs:
        assert set(spec.params) == engine(spec.engine).params[spec.algorithm]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="'magic'"):
        default_specs(("magic",))
