"""Linear regression and forests by Dask-ML and through Dask, saved as JSON and arrays, served as plain arrays.

Belongs here: everything that knows Dask or Dask-ML. Stays out: scoring and splits, which all engines share. Dask-ML has
no form of its own for fitted models but a pickle, which runs code when it is read: none is written here.

``FOREST`` is scikit-learn's own forest, its trees grown by Dask's workers: the same model, bit by bit, as on engine
sklearn. ``BLOCK_FOREST`` is Dask-ML's ``BlockwiseVotingRegressor``: the rows are shuffled and cut into k blocks, and
each tree saw the n/k rows of its block only. That is less work, and another model.

Fitted again, forests have the same bits; a linear regression may differ in its last digits, for linear algebra on a
worker rounds by where in memory the rows came to lie.
"""

import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.learning.engines import (
    DEFAULT_RESOURCES,
    EngineBase,
    Resources,
    check_rows,
    needs_library,
)
from streamlake_assets.learning.portable import PortableForest, PortableLinear, PortableModel
from streamlake_assets.learning.spec import BLOCKS, FOREST_PARAMS, LINEAR_PARAMS, Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

_LOOPBACK = "127.0.0.1"
_TIMEOUT_S = 30.0
"""For a worker that should answer at once: gathering rows, closing."""


class DaskRows(NamedTuple):
    """Rows on the workers, cut into blocks; or the rows themselves where scikit-learn will spread them."""

    x: Any
    y: Any
    total: int
    constant: NDArray[np.bool_]
    """Which features never change (k flags): least squares gives them the coefficient zero."""


class DaskEngine(EngineBase):
    """Dask on worker processes of this machine, one thread each, or on a cluster."""

    name = "dask"
    params: ClassVar = {
        Algorithm.LINEAR: frozenset(LINEAR_PARAMS["dask"]),
        Algorithm.FOREST: frozenset(FOREST_PARAMS),
        Algorithm.BLOCK_FOREST: frozenset(FOREST_PARAMS) | frozenset(BLOCKS),
    }

    def __init__(self, resources: Resources = DEFAULT_RESOURCES) -> None:
        self._resources = resources
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None

    def library_versions(self) -> dict[str, str]:
        """Return the versions of Dask, its scheduler, Dask-ML, scikit-learn and NumPy.

        Raises:
            UsageError: one of them is not installed.
        """
        names = ("dask", "distributed", "dask-ml", "scikit-learn", "numpy")
        with needs_library(self.name):
            return {name: version(name) for name in names}

    def check(self, spec: ModelSpec) -> None:
        """Check also that the trees can be shared out evenly.

        Raises:
            UsageError: they cannot, or as for every engine.
        """
        super().check(spec)
        blocks = int(spec.params.get("blocks", 1))
        if spec.algorithm is Algorithm.BLOCK_FOREST and int(spec.params["trees"]) % blocks:
            raise UsageError(f"spec {spec.name}: {spec.params['trees']} trees cannot be shared out to {blocks} blocks")

    def open(self) -> None:
        """Start the workers or connect to the scheduler; nothing happens if that was done.

        Raises:
            UsageError: a library is missing.
            ServerError: workers or scheduler did not answer in time.
        """
        if self._client is not None:
            return
        with needs_library(self.name):
            import dask_ml.ensemble  # noqa: F401 - a missing library must show before a cluster is started
            from distributed import Client, LocalCluster
        timeout = self._resources.start_timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="streamlake-dask-")
        try:
            with self.errors("starting"):
                if not self._resources.dask_scheduler:
                    self._cluster = LocalCluster(
                        n_workers=self._resources.cores,
                        threads_per_worker=1,
                        processes=True,
                        host=_LOOPBACK,
                        # no dashboard; what listens for other requests all the same does so on the loopback only
                        dashboard_address=None,
                        scheduler_kwargs={"dashboard_address": f"{_LOOPBACK}:0"},
                        worker_dashboard_address=f"{_LOOPBACK}:0",
                        # whoever starts the engine bounds its memory
                        memory_limit=0,
                        local_directory=self._folder.name,
                        silence_logs=50,
                    )
                self._client = Client(
                    self._cluster or self._resources.dask_scheduler, timeout=timeout, set_as_default=False
                )
                self._client.wait_for_workers(1, timeout=timeout)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the workers; a cluster that others run is only left."""
        client, self._client = self._client, None
        cluster, self._cluster = self._cluster, None
        folder, self._folder = self._folder, None
        try:
            if client is not None:
                with suppress(OSError, TimeoutError):
                    client.close(_TIMEOUT_S)
            if cluster is not None:
                _end(cluster)
        finally:
            if folder is not None:
                folder.cleanup()

    @property
    def scheduler(self) -> str | None:
        """Address of the scheduler in use; None while the engine is closed."""
        return None if self._client is None else str(self._client.scheduler.address)

    def _running(self) -> "Client":
        if self._client is None:
            raise ServerError("Dask does not run: open the engine first")
        return self._client

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn the death of workers or scheduler inside the block into one sentence.

        Raises:
            ServerError: they died, or did not answer in time.
        """
        from concurrent.futures import CancelledError

        from distributed.scheduler import KilledWorker, NoValidWorkerError

        lost = (KilledWorker, NoValidWorkerError, CancelledError, TimeoutError, OSError)
        try:
            yield
        except Exception as error:
            if not isinstance(error, lost) and not _raised_by_dask(error):
                raise
            told = str(error).strip().splitlines()
            raise ServerError(f"Dask failed while {doing}: {type(error).__name__} {told[0] if told else ''}") from error

    def transfer(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> DaskRows:
        """Cut the rows into blocks and send them to the workers; a block forest's rows are shuffled before.

        Raises:
            UsageError: rows that cannot be learned from.
            ServerError: Dask does not run, or died.
        """
        self.check(spec)
        check_rows(spec, x, y)
        client = self._running()
        constant = x.min(axis=0) == x.max(axis=0)
        if spec.algorithm is Algorithm.FOREST:
            return DaskRows(x, y, len(x), constant)
        if spec.algorithm is Algorithm.BLOCK_FOREST:
            # sessions of one year are alike: unshuffled, each block would know one time only
            order = np.random.default_rng(spec.seed).permutation(len(x))
            x, y = x[order], y[order]
        elif constant.any():
            x = x[:, ~constant]
        blocks = int(spec.params["blocks"])
        with self.errors("taking the rows"), client.as_current():
            return DaskRows(_blocks(client, x, blocks), _blocks(client, y, blocks), len(y), constant)

    def fit_rows(self, spec: ModelSpec, rows: DaskRows) -> PortableModel:
        """Fit every hyper-parameter as the spec says it.

        Raises:
            UsageError: an algorithm or hyper-parameters this engine does not know.
            ServerError: Dask does not run, or died.
        """
        self.check(spec)
        client = self._running()
        fit = {Algorithm.LINEAR: _linear, Algorithm.BLOCK_FOREST: _block_forest, Algorithm.FOREST: _forest}
        with self.errors(f"fitting {spec.name}"), client.as_current():
            return fit[spec.algorithm](spec, rows, client)

    def load(self, spec: ModelSpec, folder: Path) -> PortableModel:
        """Read JSON and arrays; no library of Dask is needed.

        Raises:
            ModelRefusedError: the files are missing, broken, or another model.
        """
        self.check_stored(spec)
        if spec.algorithm is Algorithm.LINEAR:
            linear = PortableLinear.read(folder, len(spec.features))
            return PortableModel(linear, linear.write)
        forest = PortableForest.read(folder, len(spec.features))
        return PortableModel(forest, forest.write)


def _raised_by_dask(error: Exception) -> bool:
    """Return whether Dask's own code raised an error, and no library that works on the rows.

    A scheduler that loses scattered rows may queue a task without priority and answer a TypeError of its heap, so the
    type alone does not say that workers died.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and str(frames[-1].f_globals.get("__name__", "")).startswith("distributed.")


def _end(cluster: "LocalCluster") -> None:
    """Close a cluster; workers that do not go in time, because one of them is just being replaced, are killed."""
    nannies = list(cluster.workers.values())
    pids = {nanny.pid for nanny in nannies}
    with suppress(OSError, TimeoutError):
        cluster.close(_TIMEOUT_S)
    for pid in (pids | {nanny.pid for nanny in nannies}) - {None}:
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            worker = psutil.Process(pid)
            if worker.ppid() == os.getpid():
                worker.kill()
                worker.wait(_TIMEOUT_S)


def _blocks(client: "Client", values: FloatArray, blocks: int) -> Any:
    """Send an array to the workers in blocks of rows, one after another, and return it as a Dask array."""
    import dask.array as da
    from distributed import wait

    parts = np.array_split(values, blocks)
    futures = client.scatter(parts, hash=False)
    wait(futures, timeout=_TIMEOUT_S)
    return da.concatenate(
        [da.from_delayed(f, part.shape, part.dtype) for f, part in zip(futures, parts, strict=True)], axis=0
    )


def _linear(spec: ModelSpec, rows: DaskRows, client: "Client") -> PortableModel:
    from dask_ml.linear_model import LinearRegression

    params = spec.params
    estimator = LinearRegression(
        penalty=str(params["penalty"]),
        dual=False,
        tol=float(params["tol"]),
        C=float(params["C"]),
        fit_intercept=bool(params["fit_intercept"]),
        intercept_scaling=1.0,
        class_weight=None,
        random_state=spec.seed,
        solver=str(params["solver"]),
        max_iter=int(params["max_iter"]),
        multi_class="ovr",
        verbose=0,
        warm_start=False,
        n_jobs=1,
        solver_kwargs=None,
    )
    if rows.x.shape[1]:
        estimator.fit(rows.x, rows.y)
        coefficients = np.zeros(len(rows.constant))
        coefficients[~rows.constant] = np.asarray(estimator.coef_)
        scorer = PortableLinear.checked(coefficients, estimator.intercept_, len(coefficients), "the fitted model")
        return PortableModel(scorer, scorer.write, lambda x: np.asarray(estimator.predict(x[:, ~rows.constant])))
    raise UsageError(f"spec {spec.name}: no feature ever changes")


def _block_forest(spec: ModelSpec, rows: DaskRows, client: "Client") -> PortableModel:
    from dask_ml.ensemble import BlockwiseVotingRegressor

    from streamlake_assets.learning.sklearn_engine import forest_arrays, forest_estimator

    blocks = int(spec.params["blocks"])
    # the smallest block bounds the leaves of all: blocks differ by one row at most
    one = forest_estimator(spec, rows.total // blocks, n_jobs=1, blocks=blocks)
    estimator = BlockwiseVotingRegressor(estimator=one)
    estimator.fit(rows.x, rows.y)  # returns nothing, unlike other estimators
    trees = [tree for forest in estimator.estimators_ for tree in forest.estimators_]
    scorer = forest_arrays(trees, len(spec.features), "the fitted model")
    return PortableModel(scorer, scorer.write, lambda x: np.asarray(estimator.predict(x)))


def _forest(spec: ModelSpec, rows: DaskRows, client: "Client") -> PortableModel:
    import joblib

    from streamlake_assets.learning.sklearn_engine import forest_arrays, forest_estimator

    estimator = forest_estimator(spec, rows.total, n_jobs=-1)
    with joblib.parallel_config(backend="dask", client=client, scatter=[rows.x, rows.y]):
        estimator.fit(rows.x, rows.y)
    scorer = forest_arrays(estimator.estimators_, len(spec.features), "the fitted model")
    return PortableModel(scorer, scorer.write, estimator.predict)
