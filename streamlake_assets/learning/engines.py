"""The one interface of all engines: fit, predict, save to a folder, load.

Belongs here: the Protocols, the checks every engine makes before its library is asked, and the list of engines by
name. Stays out: any library: an engine's module is imported when its name is asked for, so that a missing library
stops one engine and not the others.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.spec import Algorithm, ModelSpec, Params
from streamlake_assets.market.series import FloatArray

ENGINES = ("baseline", "sklearn", "xgboost", "dask", "spark")
"""Names that ``engine`` knows."""


class Resources(NamedTuple):
    """What an engine may use.

    ``cores`` of this machine; ``jvm_memory_mb``, the heap of a JVM in MiB; ``spark_master`` and ``dask_scheduler``, the
    cluster to use instead of this machine; ``java_home``, a JDK 17 (empty: ``JAVA_HOME`` of the environment);
    ``shared_folder``, which this process and the executors of a remote Spark both see, for models on their way to the
    caller; ``start_timeout_s``, how long a session or cluster may take to come up.
    """

    cores: int = 2
    jvm_memory_mb: int = 1024
    spark_master: str = ""
    dask_scheduler: str = ""
    java_home: str = ""
    shared_folder: str = ""
    start_timeout_s: float = 120.0


DEFAULT_RESOURCES = Resources()


class FittedModel(Protocol):
    """A model that has learned; values are in model units (the target divided by its scale)."""

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows (n by the features of the spec, in the spec's order).

        A row gets the same bits whatever rows stand beside it.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing, empty folder."""
        ...


class Engine(Protocol):
    """A library that can fit a spec. Engines get the same rows, split and seed; none of them scores itself.

    What a fit costs falls apart into ``open`` (a session or cluster), ``transfer`` (the rows to where the library wants
    them) and ``fit_rows``, so that each can be timed; ``fit`` does all three. All of them check their arguments before
    the library is asked, ``fit`` before it opens anything.
    """

    name: str

    @property
    def algorithms(self) -> frozenset[Algorithm]:
        """What this engine can fit."""
        ...

    def library_versions(self) -> dict[str, str]:
        """Return the versions of the libraries that decide the result."""
        ...

    def open(self) -> None:
        """Start the session or cluster, if the engine has one and it does not run yet.

        Raises:
            UsageError: a library or a JDK is missing.
            ServerError: it did not come up in time.
        """
        ...

    def close(self) -> None:
        """Stop what ``open`` started; its processes are gone when this returns. Nothing happens if none runs."""
        ...

    def transfer(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> Any:
        """Hand n rows of features (n by k) and the target in model units over to the library; return its handle.

        Raises:
            UsageError: rows that cannot be learned from (see ``check_rows``).
            ServerError: the session or cluster died.
        """
        ...

    def hand_over(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> Any:
        """As ``transfer``, but it may return before the rows are there: they come with the fit."""
        ...

    def fit_rows(self, spec: ModelSpec, rows: Any) -> FittedModel:
        """Fit what ``transfer`` returned for this spec.

        Raises:
            UsageError: an algorithm or a hyper-parameter this engine does not know, or one it needs and the spec leaves
                out.
            ServerError: the session or cluster died.
        """
        ...

    def release(self, rows: Any) -> None:
        """Let go of what ``transfer`` returned; the handle cannot be fitted any more."""
        ...

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> FittedModel:
        """Open, transfer, fit, release; the model outlives ``close``."""
        ...

    def load(self, spec: ModelSpec, folder: Path) -> FittedModel:
        """Load what ``FittedModel.save`` wrote, from a folder whose checksums have been verified.

        Starts no session and no cluster.

        Raises:
            ModelRefusedError: the files are not such a model, or hold a type outside the pinned list.
        """
        ...


class EngineBase(ABC):
    """What engines share: the order of the steps and the checks. An engine that needs no session opens nothing."""

    name: str
    params: ClassVar[Mapping[Algorithm, frozenset[str]]]
    """The hyper-parameters each algorithm takes."""

    @property
    def algorithms(self) -> frozenset[Algorithm]:
        """What this engine can fit."""
        return frozenset(self.params)

    def open(self) -> None:  # noqa: B027 - an engine without a session has nothing to do
        """Do nothing."""

    def close(self) -> None:  # noqa: B027 - an engine without a session has nothing to do
        """Do nothing."""

    def transfer(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> Any:
        """Check the rows and return the arrays themselves."""
        check_rows(spec, x, y)
        return x, y

    def hand_over(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> Any:
        """As ``transfer``, but it may return before the rows are there: they come with the fit."""
        return self.transfer(spec, x, y)

    @abstractmethod
    def fit_rows(self, spec: ModelSpec, rows: Any) -> FittedModel:
        """Fit what ``transfer`` returned."""

    def release(self, rows: Any) -> None:  # noqa: B027 - an engine without a session has nothing to do
        """Do nothing."""

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> FittedModel:
        """Check, open, transfer, fit, release."""
        self.check(spec)
        check_rows(spec, x, y)
        self.open()
        rows = self.hand_over(spec, x, y)
        try:
            return self.fit_rows(spec, rows)
        finally:
            self.release(rows)

    def check(self, spec: ModelSpec) -> None:
        """Check that this engine has the algorithm, and that the spec says every hyper-parameter of it and no other.

        Raises:
            UsageError: it is not so, or a hyper-parameter has no sense.
        """
        if spec.algorithm not in self.params:
            known = ", ".join(sorted(a.value for a in self.params))
            raise UsageError(f"spec {spec.name}: engine {self.name} has no {spec.algorithm.value}; it has {known}")
        require_params(spec, self.params[spec.algorithm])
        check_params(spec.name, spec.params)

    def check_stored(self, spec: ModelSpec) -> None:
        """Check before loading that this engine has the algorithm; what it learned with is not asked any more.

        Raises:
            ModelRefusedError: it has not.
        """
        if spec.algorithm not in self.params:
            raise ModelRefusedError(f"{spec.name}: engine {self.name} has no {spec.algorithm.value}")


def engine(name: str, resources: Resources = DEFAULT_RESOURCES) -> Engine:
    """Return an engine by name, not opened yet.

    Raises:
        UsageError: there is no such engine, or its library is not installed.
    """
    with needs_library(name):
        if name == "baseline":
            from streamlake_assets.learning.baseline import BaselineEngine

            return BaselineEngine()
        if name == "sklearn":
            from streamlake_assets.learning.sklearn_engine import SklearnEngine

            return SklearnEngine(resources)
        if name == "xgboost":
            from streamlake_assets.learning.xgboost_engine import XgboostEngine

            return XgboostEngine(resources)
        if name == "dask":
            from streamlake_assets.learning.dask_engine import DaskEngine

            return DaskEngine(resources)
        if name == "spark":
            from streamlake_assets.learning.spark_engine import SparkEngine

            return SparkEngine(resources)
    raise UsageError(f"unknown engine {name!r}; there are {', '.join(ENGINES)}")


@contextmanager
def needs_library(engine_name: str) -> Iterator[None]:
    """Turn a library that cannot be imported into a sentence that names it.

    Raises:
        UsageError: an import inside the block failed.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"engine {engine_name} cannot be used: package {error.name or 'unknown'} is not installed ({error})"
        ) from error


def require_params(spec: ModelSpec, names: frozenset[str] | set[str]) -> None:
    """Check that a spec states exactly the hyper-parameters its engine takes: no default may hide.

    Raises:
        UsageError: one is missing or unknown.
    """
    given = set(spec.params)
    if given != names:
        raise UsageError(
            f"spec {spec.name}: engine {spec.engine} takes {sorted(names)}; "
            f"missing {sorted(names - given)}, unknown {sorted(given - names)}"
        )


_AT_LEAST_ONE = ("trees", "max_depth", "min_leaf_rows", "blocks", "partitions", "max_iter")
_SHARES = ("feature_share", "row_share")
_NOT_NEGATIVE = ("tol", "l1", "l2", "min_gain")
MAX_DEPTH = 30
"""The deepest tree that Spark grows; the same limit for all."""


def check_params(name: str, params: Params) -> None:
    """Check the hyper-parameters whose sense is the same on every engine.

    Raises:
        UsageError: a count below one, a share outside (0, 1], a negative penalty, bins below two, a tree too deep.
    """
    wrong = [key for key in _AT_LEAST_ONE if key in params and not (_whole(params[key]) and int(params[key]) >= 1)]
    wrong += [key for key in _SHARES if key in params and not 0 < _number(params[key]) <= 1]
    wrong += [key for key in _NOT_NEGATIVE if key in params and not 0 <= _number(params[key]) < np.inf]
    wrong += [key for key in ("bins", "max_leaves") if key in params and not (_whole(params[key]) and params[key] >= 2)]  # type: ignore[operator]
    if "max_depth" in params and "max_depth" not in wrong and int(params["max_depth"]) > MAX_DEPTH:
        wrong.append("max_depth")
    if wrong:
        values = ", ".join(f"{key}={params[key]!r}" for key in wrong)
        raise UsageError(f"spec {name}: {values}: out of range")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def check_rows(spec: ModelSpec, x: FloatArray, y: FloatArray) -> None:
    """Check that there is something to learn from; the baseline asks for nothing.

    Raises:
        UsageError: shapes that do not fit the spec, a value that is not finite, fewer rows than the model has to have,
            or a target that never changes.
    """
    if x.ndim != 2 or x.shape[1] != len(spec.features) or y.shape != (len(x),):
        raise UsageError(
            f"spec {spec.name}: rows of shape {x.shape} and a target of shape {y.shape} "
            f"do not fit its {len(spec.features)} features"
        )
    least = least_rows(spec)
    if len(x) < least:
        what = f"{x.shape[1] + 1} coefficients" if spec.algorithm is Algorithm.LINEAR else "a tree"
        raise UsageError(f"spec {spec.name}: {len(x)} rows cannot fit {what}; {least} are the least")
    # a sum is finite only if every value is: a tenth of the time of looking at each, which is left to the bad case
    with np.errstate(all="ignore"):
        suspect = not (np.isfinite(x.sum()) and np.isfinite(y.sum()))
    if suspect:
        _check_finite(spec, x, y)
    if y.min() == y.max():
        raise UsageError(f"spec {spec.name}: the target is {y[0]:g} in all {len(y)} rows: nothing to learn")


def _check_finite(spec: ModelSpec, x: FloatArray, y: FloatArray) -> None:
    bad = np.flatnonzero(~np.isfinite(x).all(axis=0))
    if len(bad):
        raise UsageError(f"spec {spec.name}: NaN or infinity in {', '.join(spec.features[i] for i in bad)}")
    if not np.isfinite(y).all():
        raise UsageError(f"spec {spec.name}: NaN or infinity in the target")


def least_rows(spec: ModelSpec) -> int:
    """Return how many rows a spec needs: one more than coefficients, or what gives each tree two full leaves."""
    blocks = int(spec.params.get("blocks", 1))
    if spec.algorithm is Algorithm.LINEAR:
        return max(len(spec.features) + 2, blocks)
    drawn = 2 * int(spec.params.get("min_leaf_rows", 1)) / float(spec.params.get("row_share", 1.0))
    return math.ceil(drawn) * blocks


def features_per_split(spec: ModelSpec) -> int:
    """Return how many features a tree tries at each split, the same on every engine."""
    return max(1, round(float(spec.params["feature_share"]) * len(spec.features)))
