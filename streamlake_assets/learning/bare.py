"""The same fits with the library alone, written as a script would: what the runner's own cost is measured against.

Belongs here: for each engine and algorithm the short code that makes the model of a spec. Stays out: checks, portable
models, files: that is what the runner adds. Every hyper-parameter that differs from the library's default is said, so
that both sides do the same work; a comparison of forecasts proves it (``timing``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.engines import Engine, Resources, features_per_split
from streamlake_assets.learning.spec import Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

Forecast = Callable[[FloatArray], FloatArray]
Fit = Callable[[FloatArray, FloatArray], Forecast]


@contextmanager
def bare(spec: ModelSpec, worker: Engine, resources: Resources) -> Iterator[Fit]:
    """Yield a function that fits rows with the bare library, in the session that the opened engine holds.

    Dask gets a cluster of its own of the same size: a second client in one process would share the first one's.

    Raises:
        UsageError: an engine or algorithm for which no bare script is written.
    """
    if spec.engine == "sklearn":
        # linear algebra on one thread, as the runner does it: on two it sums in another order, on another core
        with threadpool_limits({"blas": 1}):
            yield lambda x, y: _sklearn(spec, resources).fit(x, y).predict
    elif spec.engine == "xgboost":
        yield lambda x, y: _xgboost(spec, resources, x, y)
    elif spec.engine == "dask":
        with _dask(resources):
            yield lambda x, y: _fit_dask(spec, x, y)
    elif spec.engine == "spark":
        # the one attribute that only Spark's engine has: its running session
        session = worker.spark.session()  # type: ignore[attr-defined]
        yield lambda x, y: _fit_spark(spec, session, x, y)
    else:
        raise UsageError(f"no bare script for engine {spec.engine}")


def _sklearn(spec: ModelSpec, resources: Resources, blocks: int = 1, rows: int = 0) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression

    p = spec.params
    if spec.algorithm is Algorithm.LINEAR:
        return LinearRegression()
    if spec.algorithm is Algorithm.BOOSTING:
        return HistGradientBoostingRegressor(
            learning_rate=float(p["learning_rate"]),
            max_iter=int(p["trees"]),
            max_leaf_nodes=int(p["max_leaves"]),
            max_depth=int(p["max_depth"]),
            min_samples_leaf=int(p["min_leaf_rows"]),
            l2_regularization=float(p["l2"]),
            early_stopping=False,
            random_state=spec.seed,
        )
    return _LateForest(spec, resources.cores) if not rows else _forest(spec, rows, 1, blocks)


class _LateForest:
    """A forest whose least leaf is a share of rows that are known at its fit only."""

    def __init__(self, spec: ModelSpec, cores: int) -> None:
        self._spec, self._cores = spec, cores

    def fit(self, x: FloatArray, y: FloatArray) -> Any:
        return _forest(self._spec, len(x), self._cores, 1).fit(x, y)


def _forest(spec: ModelSpec, rows: int, cores: int, blocks: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    p = spec.params
    return RandomForestRegressor(
        n_estimators=int(p["trees"]) // blocks,
        max_depth=int(p["max_depth"]),
        min_weight_fraction_leaf=min(0.5, (int(p["min_leaf_rows"]) - 0.5) / rows),
        max_features=features_per_split(spec),
        n_jobs=cores,
        random_state=spec.seed,
    )


def _xgboost(spec: ModelSpec, resources: Resources, x: FloatArray, y: FloatArray) -> Forecast:
    import xgboost

    p = spec.params
    options = {
        "base_score": float(y.mean()),
        "eta": float(p["learning_rate"]),
        "max_depth": int(p["max_depth"]),
        "min_child_weight": float(p["min_leaf_rows"]),
        "lambda": float(p["l2"]),
        "max_bin": int(p["bins"]),
        "seed": spec.seed,
        "nthread": resources.cores,
    }
    rows = xgboost.QuantileDMatrix(x, y, max_bin=int(p["bins"]), nthread=resources.cores)
    booster = xgboost.train(options, rows, num_boost_round=int(p["trees"]))
    return lambda new: booster.inplace_predict(new).astype(np.float64)


@contextmanager
def _dask(resources: Resources) -> Iterator[None]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=resources.cores, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster),
    ):
        yield


def _fit_dask(spec: ModelSpec, x: FloatArray, y: FloatArray) -> Forecast:
    import dask.array as da
    import joblib
    from dask_ml.ensemble import BlockwiseVotingRegressor
    from dask_ml.linear_model import LinearRegression
    from distributed import get_client

    p = spec.params
    if spec.algorithm is Algorithm.FOREST:
        forest = _forest(spec, len(x), -1, 1)
        with joblib.parallel_config(backend="dask", scatter=[x, y]):
            return forest.fit(x, y).predict  # type: ignore[no-any-return]
    blocks = int(p["blocks"])
    if spec.algorithm is Algorithm.BLOCK_FOREST:
        order = np.random.default_rng(spec.seed).permutation(len(x))
        x, y = x[order], y[order]

    def spread(values: FloatArray) -> Any:
        parts = np.array_split(values, blocks)
        futures = get_client().scatter(parts, hash=False)
        return da.concatenate([da.from_delayed(f, b.shape, b.dtype) for f, b in zip(futures, parts, strict=True)])

    rows = spread(x), spread(y)
    if spec.algorithm is Algorithm.LINEAR:
        linear = LinearRegression(
            solver=str(p["solver"]), C=float(p["C"]), tol=float(p["tol"]), max_iter=int(p["max_iter"])
        )
        linear.fit(*rows)
        return lambda new: np.asarray(linear.predict(new))
    voting = BlockwiseVotingRegressor(_forest(spec, len(x) // blocks, 1, blocks))
    voting.fit(*rows)
    return lambda new: np.asarray(voting.predict(new))


def _fit_spark(spec: ModelSpec, session: Any, x: FloatArray, y: FloatArray) -> Forecast:
    import pyarrow as pa
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.regression import LinearRegression, RandomForestRegressor

    p = spec.params
    names = [f"f{i}" for i in range(x.shape[1])]
    assembler = VectorAssembler(inputCols=names, outputCol="features")

    def frame(values: FloatArray, **more: FloatArray) -> Any:
        columns = {name: np.ascontiguousarray(values[:, i]) for i, name in enumerate(names)}
        return assembler.transform(session.createDataFrame(pa.table({**columns, **more})))

    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(-(-len(x) // int(p["partitions"]))))
    rows = frame(x, label=y).select("features", "label").cache()
    if spec.algorithm is Algorithm.LINEAR:
        model: Any = LinearRegression(solver=str(p["solver"]), tol=float(p["tol"])).fit(rows)
    else:
        model = RandomForestRegressor(
            numTrees=int(p["trees"]),
            maxDepth=int(p["max_depth"]),
            maxBins=int(p["bins"]),
            minInstancesPerNode=int(p["min_leaf_rows"]),
            featureSubsetStrategy=str(features_per_split(spec)),
            seed=spec.seed,
        ).fit(rows)
    rows.unpersist()
    return lambda new: model.transform(frame(new)).select("prediction").toArrow()["prediction"].to_numpy()
