"""Linear regression and forest by Spark MLlib, saved in Spark's own format, served as plain arrays.

Belongs here: everything that knows MLlib or its files. Stays out: the Java process (``spark_session``), scoring and
splits, which all engines share. Loading reads Spark's files with Arrow: serving starts no Java.

Fitted again, a model may differ in its last digits: Spark adds parts up in the order in which they are done.
"""

import io
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streamlake_assets.errors import ModelRefusedError, ServerError
from streamlake_assets.learning.engines import (
    DEFAULT_RESOURCES,
    EngineBase,
    Resources,
    check_rows,
    features_per_split,
    needs_library,
)
from streamlake_assets.learning.portable import LEAF, PortableForest, PortableLinear, Scorer
from streamlake_assets.learning.spark_session import PARTITIONS, LocalSpark
from streamlake_assets.learning.spec import FOREST_EXTRA, FOREST_PARAMS, LINEAR_PARAMS, Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_CLASSES = {
    Algorithm.LINEAR: "org.apache.spark.ml.regression.LinearRegressionModel",
    Algorithm.FOREST: "org.apache.spark.ml.regression.RandomForestRegressionModel",
}
_FEATURES, _LABEL, _PREDICTION = "features", "label", "prediction"
Files = Mapping[str, bytes]
"""Spark's files of one model, by name relative to its folder."""


class SparkModel:
    """A model that Spark fitted: its files are fetched from Spark when they are first needed."""

    def __init__(
        self,
        spec: ModelSpec,
        fetch: Callable[[], Files],
        where: str,
        by_library: Callable[[FloatArray], FloatArray] | None = None,
    ) -> None:
        self._spec, self._fetch, self._where = spec, fetch, where
        self.by_library = by_library

    @cached_property
    def files(self) -> Files:
        """Spark's own files."""
        return self._fetch()

    @cached_property
    def scorer(self) -> Scorer:
        """The arrays that forecast, read from the files."""
        return read_model(self._spec, self.files, self._where)

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows, in model units, without Spark."""
        return self.scorer.predict(x)

    def save(self, folder: Path) -> None:
        """Write Spark's files into an existing, empty folder."""
        for name, raw in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)


class SparkEngine(EngineBase):
    """Spark MLlib in a Java process of its own, on this machine's cores or on a cluster."""

    name = "spark"
    params: ClassVar = {
        Algorithm.LINEAR: frozenset(LINEAR_PARAMS["spark"]),
        Algorithm.FOREST: frozenset(FOREST_PARAMS) | frozenset(FOREST_EXTRA["spark"]),
    }

    def __init__(self, resources: Resources = DEFAULT_RESOURCES) -> None:
        self.spark = LocalSpark(resources)
        self._shared = resources.shared_folder

    def library_versions(self) -> dict[str, str]:
        """Return the versions of PySpark (which brings Spark), PyArrow and NumPy.

        Raises:
            UsageError: PySpark is not installed.
        """
        with needs_library(self.name):
            return {"pyspark": version("pyspark"), "pyarrow": pa.__version__, "numpy": np.__version__}

    def open(self) -> None:
        """Start Java and a session, about ten seconds; nothing happens if they run.

        Raises:
            UsageError: PySpark or a JDK is missing.
            ServerError: Spark did not come up.
        """
        self.spark.start()

    def close(self) -> None:
        """End the session and its Java process."""
        self.spark.stop()

    def transfer(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> "DataFrame":
        """Send the rows by Arrow, assemble and cache them, and count them so that they are there.

        Raises:
            UsageError: rows that cannot be learned from.
            ServerError: Spark does not run, or died.
        """
        rows = self.hand_over(spec, x, y)
        with self.spark.errors("taking the rows"):
            rows.count()
        return rows

    def hand_over(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> "DataFrame":
        """Say where the rows come from and that they are to be cached; Spark fetches them at their first use.

        Raises:
            UsageError: rows that cannot be learned from.
            ServerError: Spark does not run, or died.
        """
        check_rows(spec, x, y)
        with self.spark.errors("taking the rows"):
            partitions = int(spec.params["partitions"])
            session = self.spark.session()
            # one batch a part, so that parts are even
            session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(-(-len(x) // partitions)))
            rows = self._frame(x, y)
            return (rows if partitions == PARTITIONS else rows.repartition(partitions)).cache()

    def _frame(self, x: FloatArray, y: FloatArray | None = None) -> "DataFrame":
        from pyspark.ml.feature import VectorAssembler

        names = [f"f{i}" for i in range(x.shape[1])]
        columns = {name: pa.array(np.ascontiguousarray(x[:, i])) for i, name in enumerate(names)}
        if y is not None:
            columns[_LABEL] = pa.array(y)
        frame = self.spark.session().createDataFrame(pa.table(columns))
        assembler = VectorAssembler(inputCols=names, outputCol=_FEATURES, handleInvalid="error")
        return assembler.transform(frame).select(_FEATURES, *([_LABEL] if y is not None else []))

    def fit_rows(self, spec: ModelSpec, rows: "DataFrame") -> SparkModel:
        """Fit every hyper-parameter as the spec says it; the model is fetched from Java when it is first used.

        Raises:
            UsageError: an algorithm or hyper-parameters this engine does not know.
            ServerError: Spark does not run, or died.
        """
        self.check(spec)
        self.spark.session()
        with self.spark.errors(f"fitting {spec.name}"):
            model = _estimator(spec).fit(rows)
        return SparkModel(spec, lambda: self._export(model), "the fitted model", lambda x: self._transform(model, x))

    def release(self, rows: "DataFrame") -> None:
        """Drop the cached rows."""
        if self.spark.pid is not None:
            with self.spark.errors("dropping the rows"):
                rows.unpersist(blocking=True)

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> SparkModel:
        """Check, open, send, fit, fetch the model, release; nobody times the steps, so nothing waits for the rows."""
        self.check(spec)
        check_rows(spec, x, y)
        self.open()
        rows = self.hand_over(spec, x, y)
        try:
            fitted = self.fit_rows(spec, rows)
            fitted.scorer  # noqa: B018 - fetched now, the session may be closed next
        finally:
            self.release(rows)
        return fitted

    def _transform(self, model: Any, x: FloatArray) -> FloatArray:
        """Forecast by Spark itself."""
        with self.spark.errors("forecasting"):
            values: FloatArray = model.transform(self._frame(x)).select(_PREDICTION).toArrow()[_PREDICTION].to_numpy()
        return values

    def _export(self, model: Any) -> Files:
        """Let Spark save the model and read its files back."""
        folder = Path(tempfile.mkdtemp(prefix="model-", dir=self._shared or self.spark.folder))
        try:
            with self.spark.errors("saving the model"):
                model.write().overwrite().save((folder / "saved").as_uri())
            found = _files(folder / "saved")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if not any(name.startswith("data/part-") for name in found):
            raise ServerError(
                f"Spark saved the model where this process cannot see it: {folder} must be a folder that its executors "
                "share (Resources.shared_folder)"
            )
        return found

    def load(self, spec: ModelSpec, folder: Path) -> SparkModel:
        """Read Spark's files; neither Java nor PySpark is needed.

        Raises:
            ModelRefusedError: the files are missing, broken, or another model.
        """
        self.check_stored(spec)
        try:
            files = _files(folder)
        except OSError as error:
            raise ModelRefusedError(f"{folder}: cannot be read ({error})") from error
        model = SparkModel(spec, lambda: files, str(folder))
        model.scorer  # noqa: B018 - read now, so that it is refused now
        return model


def _estimator(spec: ModelSpec) -> Any:
    from pyspark.ml.regression import LinearRegression, RandomForestRegressor

    params = spec.params
    if spec.algorithm is Algorithm.LINEAR:
        return LinearRegression(
            featuresCol=_FEATURES,
            labelCol=_LABEL,
            predictionCol=_PREDICTION,
            maxIter=int(params["max_iter"]),
            regParam=float(params["penalty"]),
            elasticNetParam=float(params["elastic_net"]),
            tol=float(params["tol"]),
            fitIntercept=bool(params["fit_intercept"]),
            standardization=bool(params["standardize"]),
            solver=str(params["solver"]),
            aggregationDepth=2,
            loss="squaredError",
            epsilon=1.35,
            maxBlockSizeInMB=0.0,
        )
    return RandomForestRegressor(
        featuresCol=_FEATURES,
        labelCol=_LABEL,
        predictionCol=_PREDICTION,
        maxDepth=int(params["max_depth"]),
        maxBins=int(params["bins"]),
        minInstancesPerNode=int(params["min_leaf_rows"]),
        minInfoGain=0.0,
        maxMemoryInMB=256,
        cacheNodeIds=False,
        checkpointInterval=10,
        impurity="variance",
        subsamplingRate=float(params["row_share"]),
        seed=spec.seed,
        numTrees=int(params["trees"]),
        # a whole number is taken as such, a share would be rounded up
        featureSubsetStrategy=str(features_per_split(spec)),
        leafCol="",
        minWeightFractionPerNode=0.0,
        bootstrap=bool(params["bootstrap"]),
    )


def _files(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder but Hadoop's checksums, which nobody reads back."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def read_model(spec: ModelSpec, files: Files, where: str) -> Scorer:
    """Return the arrays of a model in Spark's format (``DefaultParamsWriter``, ``EnsembleModelReadWrite``).

    Raises:
        ModelRefusedError: missing, broken, or not a model of this spec.
    """
    features = len(spec.features)
    try:
        metadata = json.loads(_only(files, "metadata/part-"))
        if metadata["class"] != _CLASSES[spec.algorithm]:
            raise ModelRefusedError(f"{where}: holds a {metadata['class']}, not a {spec.algorithm.value} model")
        if spec.algorithm is Algorithm.LINEAR:
            return _read_linear(_table(files, "data/"), features, where)
        if metadata["numFeatures"] != features:
            raise ModelRefusedError(f"{where}: does not fit the {features} features of {spec.name}")
        listed = _table(files, "treesMetadata/").to_pydict()
        trees = len(listed["_1"])
        if metadata["numTrees"] != trees or sorted(listed["_1"]) != list(range(trees)) or set(listed["_3"]) != {1.0}:
            raise ModelRefusedError(f"{where}: trees are missing or weighted")
        return _read_forest(_table(files, "data/"), trees, features, where)
    except (pa.ArrowException, LookupError, TypeError, ValueError, OSError) as error:
        raise ModelRefusedError(f"{where}: cannot be read as a Spark model ({error})") from error


def _only(files: Files, start: str) -> bytes:
    (found,) = [raw for name, raw in files.items() if name.startswith(start)]
    return found


def _table(files: Files, folder: str) -> pa.Table:
    parts = [raw for name, raw in sorted(files.items()) if name.startswith(f"{folder}part-")]
    return pa.concat_tables([pq.read_table(io.BytesIO(raw)) for raw in parts])


def _read_linear(table: pa.Table, features: int, where: str) -> PortableLinear:
    (row,) = table.to_pylist()
    vector = row["coefficients"]
    coefficients = np.zeros(features)
    # type 1 is a dense vector, 0 a sparse one
    places = range(features) if vector["type"] == 1 else vector["indices"]
    size = len(vector["values"]) if vector["type"] == 1 else vector["size"]
    if size != features or len(places) != len(vector["values"]):
        raise ModelRefusedError(f"{where}: coefficients do not fit the {features} features")
    coefficients[list(places)] = vector["values"]
    return PortableLinear.checked(coefficients, row["intercept"], features, where)


def _read_forest(table: pa.Table, trees: int, features: int, where: str) -> PortableForest:
    nodes = table["nodeData"].combine_chunks()
    tree, own = table["treeID"].to_numpy(), nodes.field("id").to_numpy()
    if not trees or tree.min() < 0 or tree.max() >= trees:
        raise ModelRefusedError(f"{where}: nodes of no tree")
    order = np.lexsort((own, tree))
    counts = np.bincount(tree, minlength=trees)
    offsets = np.cumsum([0, *counts])
    if not np.array_equal(own[order], np.arange(len(own)) - np.repeat(offsets[:-1], counts)):
        raise ModelRefusedError(f"{where}: nodes are missing")
    split = nodes.field("split")
    left = nodes.field("leftChild").to_numpy()
    inner = left >= 0
    thresholds = split.field("leftCategoriesOrThreshold")
    lengths = thresholds.value_lengths().to_numpy()
    if (lengths[inner] != 1).any() or (split.field("numCategories").to_numpy()[inner] != -1).any():
        raise ModelRefusedError(f"{where}: splits by category")
    threshold = np.zeros(len(left))
    threshold[inner] = thresholds.filter(pa.array(inner)).flatten().to_numpy()
    arrays = {
        "feature": np.where(inner, split.field("featureIndex").to_numpy(), 0)[order],
        "threshold": threshold[order],
        "left": np.where(inner, left, LEAF)[order],
        "right": np.where(inner, nodes.field("rightChild").to_numpy(), LEAF)[order],
        "value": nodes.field("prediction").to_numpy()[order],
        "offsets": offsets,
    }
    return PortableForest.checked(arrays, features, where, average=True)
