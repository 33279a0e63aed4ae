"""The one interface of all engines: fit, predict, save to a folder, load.

Belongs here: the Protocols and the list of engines by name. Stays out: any library: an engine's module is imported when
its name is asked for, so that a missing library stops one engine and not the others.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.spec import Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray


class Resources(NamedTuple):
    """What an engine may use: cores of this machine, memory of a JVM in MiB, and the cluster to use instead of both."""

    cores: int = 2
    jvm_memory_mb: int = 1024
    spark_master: str = ""
    dask_scheduler: str = ""


DEFAULT_RESOURCES = Resources()


class FittedModel(Protocol):
    """A model that has learned; values are in model units (the target divided by its scale)."""

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows (n by the features of the spec, in the spec's order)."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing, empty folder."""
        ...


class Engine(Protocol):
    """A library that can fit a spec. Engines get the same rows, split and seed; none of them scores itself.

    What a fit costs falls apart into ``open`` (a session or cluster), ``transfer`` (the rows to where the library wants
    them) and ``fit_rows``, so that each can be timed; ``fit`` does all three.
    """

    name: str
    algorithms: frozenset[Algorithm]

    def library_versions(self) -> dict[str, str]:
        """Return the versions of the libraries that decide the result."""
        ...

    def open(self) -> None:
        """Start the session or cluster, if the engine has one and it does not run yet."""
        ...

    def close(self) -> None:
        """Stop what ``open`` started; its processes are gone when this returns."""
        ...

    def transfer(self, x: FloatArray, y: FloatArray) -> Any:
        """Hand n rows of features (n by k) and the target in model units over to the library; return its handle."""
        ...

    def fit_rows(self, spec: ModelSpec, rows: Any) -> FittedModel:
        """Fit what ``transfer`` returned.

        Raises:
            UsageError: an algorithm or a hyper-parameter this engine does not know, or one it needs and the spec leaves
                out; too few rows; a constant target where that cannot be fitted.
        """
        ...

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> FittedModel:
        """Open, transfer and fit."""
        ...

    def load(self, spec: ModelSpec, folder: Path) -> FittedModel:
        """Load what ``FittedModel.save`` wrote, from a folder whose checksums have been verified.

        Raises:
            ModelRefusedError: the files are not such a model, or hold a type outside the pinned list.
        """
        ...


class InProcess:
    """Base of engines that work on NumPy arrays in this very process: nothing to open, nothing to transfer."""

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def transfer(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the arrays themselves."""
        return x, y


def engine(name: str, resources: Resources = DEFAULT_RESOURCES) -> Engine:
    """Return an engine by name, not opened yet.

    Raises:
        UsageError: there is no such engine.
    """
    if name == "baseline":
        from streamlake_assets.learning.baseline import BaselineEngine

        return BaselineEngine()
    if name == "sklearn":
        from streamlake_assets.learning.sklearn_engine import SklearnEngine

        return SklearnEngine()
    raise UsageError(f"unknown engine {name!r}; there are baseline, sklearn")


def require_params(spec: ModelSpec, names: set[str]) -> None:
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
