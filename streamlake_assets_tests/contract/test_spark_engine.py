"""The Spark engine on a real Java process: the right model, served without Java, and no process left behind."""

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

from streamlake_assets.errors import ModelRefusedError, ServerError, UsageError
from streamlake_assets.learning.engines import FittedModel, Resources
from streamlake_assets.learning.spark_engine import SparkEngine, SparkModel
from streamlake_assets.learning.spec import ModelSpec, forest_spec, linear_spec
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.servers.tools import java_home
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
)

LINEAR = linear_spec(RANGE, "spark")
FOREST = smaller(forest_spec(RANGE, "spark"))
SPECS = {"linear": LINEAR, "forest": FOREST}


@pytest.fixture(scope="module")
def frame() -> TrainingFrame:
    return made_frame()


def new_engine(**resources: Any) -> SparkEngine:
    return SparkEngine(Resources(**({"java_home": str(java_home())} | resources)))


@pytest.fixture(scope="module")
def worker() -> Iterator[SparkEngine]:
    engine = new_engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def models(worker: SparkEngine, frame: TrainingFrame) -> dict[str, SparkModel]:
    return {name: worker.fit(spec, *rows_of(frame, spec)) for name, spec in SPECS.items()}


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return SPECS[str(request.param)]


def test_saved_models_predict_the_same_in_a_fresh_process_without_java(
    models: dict[str, SparkModel], frame: TrainingFrame, tmp_path: Path
) -> None:
    own: dict[str, tuple[ModelSpec, FittedModel]] = {name: (SPECS[name], model) for name, model in models.items()}
    check_comes_back_in_a_fresh_process(own, frame, tmp_path)


def test_a_loaded_model_can_be_saved_again(models: dict[str, SparkModel], tmp_path: Path) -> None:
    for home in ("first", "second"):
        (tmp_path / home).mkdir()
    models["forest"].save(tmp_path / "first")
    SparkEngine().load(FOREST, tmp_path / "first").save(tmp_path / "second")
    names = sorted(p.relative_to(tmp_path / "first") for p in (tmp_path / "first").rglob("*"))
    assert names == sorted(p.relative_to(tmp_path / "second") for p in (tmp_path / "second").rglob("*"))


def test_a_damaged_file_is_refused(spec: ModelSpec, models: dict[str, SparkModel], tmp_path: Path) -> None:
    check_damage_is_refused(SparkEngine(), spec, models[spec.algorithm.value], tmp_path)


def test_the_arrays_forecast_as_spark_does(
    spec: ModelSpec, models: dict[str, SparkModel], frame: TrainingFrame
) -> None:
    model = models[spec.algorithm.value]
    assert model.by_library is not None
    x, _ = rows_of(frame, spec)
    on_thresholds = x.copy()
    if spec is FOREST:
        forest = trees_of(model)
        inner = forest.left >= 0
        for feature in range(len(spec.features)):
            own = forest.threshold[inner & (forest.feature == feature)]
            if len(own):
                on_thresholds[:, feature] = np.resize(own, len(x))
    for rows in (x, on_thresholds):
        np.testing.assert_allclose(model.predict(rows), model.by_library(rows), rtol=1e-12, atol=1e-12)


def test_fitting_again_gives_the_same_model(
    spec: ModelSpec, worker: SparkEngine, models: dict[str, SparkModel], frame: TrainingFrame
) -> None:
    """To the last digits: Spark adds parts up in the order in which they are done."""
    x, y = rows_of(frame, spec)
    again = worker.fit(spec, x, y).predict(x)
    np.testing.assert_allclose(again, models[spec.algorithm.value].predict(x), rtol=1e-9)


def test_the_linear_model_is_least_squares_to_the_last_digits(
    models: dict[str, SparkModel], frame: TrainingFrame
) -> None:
    expected = LinearRegression().fit(*rows_of(frame, LINEAR))
    found = line_of(models["linear"])
    np.testing.assert_allclose(found.coefficients, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(found.intercept, expected.intercept_, rtol=1e-10)


def test_a_forest_grows_as_its_spec_says(models: dict[str, SparkModel]) -> None:
    forest = trees_of(models["forest"])
    assert (forest.trees, forest.depth) == (8, 4)
    rows = nodes_of(models["forest"])["nodeData"].combine_chunks()
    leaves = rows.field("rawCount").to_numpy()[rows.field("leftChild").to_numpy() < 0]
    assert 20 <= leaves.min() <= 25


def test_senseless_hyper_parameters_are_said(spec: ModelSpec, worker: SparkEngine, frame: TrainingFrame) -> None:
    check_bad_params_are_refused(worker, spec, frame)


def nodes_of(model: SparkModel) -> pa.Table:
    (raw,) = [raw for name, raw in model.files.items() if name.startswith("data/part-")]
    return pq.read_table(io.BytesIO(raw))


HOSTILE: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "a circle": (lambda rows: rows[0]["nodeData"].update(leftChild=0), "not behind its parent"),
    "a child far outside": (lambda rows: rows[0]["nodeData"].update(rightChild=10**6), "outside its tree"),
    "a node twice": (lambda rows: rows.append(rows[-1]), "nodes are missing"),
    "a node less": (lambda rows: rows.pop(2), "nodes are missing"),
    "a tree nobody knows": (lambda rows: rows[0].update(treeID=10**9), "nodes of no tree"),
    "a value that is no number": (
        lambda rows: [row["nodeData"].update(prediction=float("nan")) for row in rows],
        "a value is not finite",
    ),
    "a feature too many": (lambda rows: rows[0]["nodeData"]["split"].update(featureIndex=8), "beyond the 8"),
    "a split by category": (lambda rows: rows[0]["nodeData"]["split"].update(numCategories=3), "by category"),
    "two thresholds": (
        lambda rows: rows[0]["nodeData"]["split"].update(leftCategoriesOrThreshold=[0.1, 0.2]),
        "by category",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_nodes_are_refused(name: str, models: dict[str, SparkModel], tmp_path: Path) -> None:
    models["forest"].save(tmp_path)
    (path,) = (tmp_path / "data").glob("part-*")
    table = pq.read_table(path)
    rows = sorted(table.to_pylist(), key=lambda row: (row["treeID"], row["nodeData"]["id"]))
    spoil, reason = HOSTILE[name]
    spoil(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(ModelRefusedError, match=reason):
        SparkEngine().load(FOREST, tmp_path)


def test_metadata_that_says_something_else_is_refused(models: dict[str, SparkModel], tmp_path: Path) -> None:
    models["forest"].save(tmp_path)
    (path,) = (tmp_path / "metadata").glob("part-*")
    known = json.loads(path.read_text())
    for change, reason in (
        ({"class": "org.apache.spark.ml.regression.GBTRegressionModel"}, "GBTRegressionModel, not a forest"),
        ({"numFeatures": 7}, "does not fit the 8 features"),
        ({"numTrees": 10**12}, "trees are missing"),
        ({"numTrees": "8"}, "trees are missing"),
    ):
        path.write_text(json.dumps(known | change))
        with pytest.raises(ModelRefusedError, match=reason):
            SparkEngine().load(FOREST, tmp_path)


def test_an_unopened_engine_says_so(frame: TrainingFrame) -> None:
    with pytest.raises(ServerError, match="open the engine first"):
        SparkEngine().transfer(LINEAR, *rows_of(frame, LINEAR))


def test_a_second_session_in_one_process_is_refused(worker: SparkEngine) -> None:
    worker.open()
    with pytest.raises(UsageError, match="one engine at a time"):
        new_engine().open()
    assert worker.spark.session() is not None


def test_nothing_listens_beyond_this_machine(worker: SparkEngine) -> None:
    worker.open()
    assert listening_addresses([psutil.Process(), *descendants()]) == {"127.0.0.1"}


def javas() -> set[int]:
    """Return the Java processes below this one: servers of other tests may be among them."""
    return {process.pid for process in descendants() if "java" in process.name()}


def test_a_killed_java_is_an_error_in_time_and_the_engine_can_be_opened_again(
    worker: SparkEngine, models: dict[str, SparkModel], frame: TrainingFrame
) -> None:
    x, y = rows_of(frame, FOREST)
    rows = worker.transfer(FOREST, x, y)
    assert worker.spark.pid is not None
    others = javas() - {worker.spark.pid}
    killed = psutil.Process(worker.spark.pid)
    born = killed.create_time()
    killed.kill()
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"Spark ended while fitting log_range_forest \(exit code -9\)"):
        worker.fit_rows(FOREST, rows)
    assert time.monotonic() - started < 60
    assert worker.spark.pid is None
    # Java had no time to tidy up: what it wrote went with the folder
    assert not [left for left in Path(tempfile.gettempdir()).glob("spark-*") if left.stat().st_mtime >= born]
    worker.release(rows)
    # what was fetched before still forecasts
    assert np.isfinite(models["forest"].predict(x)).all()
    worker.open()
    np.testing.assert_allclose(worker.fit(LINEAR, x, y).predict(x), models["linear"].predict(x), rtol=1e-9)
    process = psutil.Process(worker.spark.pid)
    folder = worker.spark.folder
    worker.close()
    assert not process.is_running()
    assert not folder.exists()
    assert javas() <= others
    worker.close()
