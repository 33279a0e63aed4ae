"""The one interface of all engines: fit, predict, save to a folder, load.

Belongs here: the Protocols and the list of engines by name. Stays out: any library: an engine's module is imported when
its name is asked for, so that a missing library stops one engine and not the others.
"""

from pathlib import Path
from typing import Protocol

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.series import FloatArray


class FittedModel(Protocol):
    """A model that has learned; values are in model units (the target divided by its scale)."""

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows (n by the features of the spec, in the spec's order)."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model's files into an existing, empty folder."""
        ...


class Engine(Protocol):
    """A library that can fit a spec. Engines get the same rows, split and seed; none of them scores itself."""

    name: str

    def library_versions(self) -> dict[str, str]:
        """Return the versions of the libraries that decide the result."""
        ...

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> FittedModel:
        """Fit n rows of features (n by k) to the target in model units.

        Raises:
            UsageError: a hyper-parameter this engine does not know, or one it needs and the spec leaves out.
        """
        ...

    def load(self, spec: ModelSpec, folder: Path) -> FittedModel:
        """Load what ``FittedModel.save`` wrote, from a folder whose checksums have been verified.

        Raises:
            ModelRefusedError: the files are not such a model, or hold a type outside the pinned list.
        """
        ...


def engine(name: str) -> Engine:
    """Return an engine by name.

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
