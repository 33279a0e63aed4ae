"""Linear regression by scikit-learn, saved with skops.

Belongs here: everything that knows scikit-learn or skops. Stays out: scoring and splits, which all engines share.
Loading trusts a list of types pinned here; the list is never taken from the file that asks to be trusted.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops
import skops.io
from sklearn.linear_model import LinearRegression
from skops.io.exceptions import UntrustedTypesFoundException

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.engines import InProcess, require_params
from streamlake_assets.learning.spec import Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

_FILE = "model.skops"
_ALLOWED_TYPES: list[str] = []
"""Types beyond the ones skops itself trusts; a linear regression needs none."""


@dataclass(frozen=True)
class FittedLinear:
    """A fitted linear regression."""

    estimator: Any

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows, in model units."""
        out: FloatArray = self.estimator.predict(x)
        return out

    def save(self, folder: Path) -> None:
        """Write the estimator as one skops file."""
        skops.io.dump(self.estimator, folder / _FILE)


class SklearnEngine(InProcess):
    """Ordinary least squares by an orthogonal decomposition, on one core; no random number is drawn."""

    name = "sklearn"
    algorithms = frozenset({Algorithm.LINEAR})

    def library_versions(self) -> dict[str, str]:
        """Return the versions of scikit-learn, skops and NumPy."""
        return {"scikit-learn": sklearn.__version__, "skops": skops.__version__, "numpy": np.__version__}

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> FittedLinear:
        """Open, transfer and fit."""
        return self.fit_rows(spec, (x, y))

    def fit_rows(self, spec: ModelSpec, rows: tuple[FloatArray, FloatArray]) -> FittedLinear:
        """Fit every hyper-parameter as the spec says it.

        Raises:
            UsageError: wrong hyper-parameters, or fewer rows than coefficients.
        """
        require_params(spec, {"fit_intercept", "positive", "tol"})
        x, y = rows
        if len(x) <= x.shape[1] + 1:
            raise UsageError(f"spec {spec.name}: {len(x)} rows cannot fit {x.shape[1] + 1} coefficients")
        estimator = LinearRegression(
            fit_intercept=bool(spec.params["fit_intercept"]),
            copy_X=True,
            tol=float(spec.params["tol"]),
            n_jobs=None,
            positive=bool(spec.params["positive"]),
        )
        return FittedLinear(estimator.fit(x, y))

    def load(self, spec: ModelSpec, folder: Path) -> FittedLinear:
        """Load the estimator without running any code of the file.

        Raises:
            ModelRefusedError: the file is missing or broken, holds a type outside the list, or is another model.
        """
        path = folder / _FILE
        try:
            estimator = skops.io.load(path, trusted=_ALLOWED_TYPES)
        except UntrustedTypesFoundException as error:
            raise ModelRefusedError(f"{path}: holds a type that is not allowed ({error})") from error
        except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise ModelRefusedError(f"{path}: cannot be read as a model ({error})") from error
        if type(estimator) is not LinearRegression:
            raise ModelRefusedError(f"{path}: holds a {type(estimator).__name__}, not a linear regression")
        coefficients = np.atleast_1d(getattr(estimator, "coef_", np.empty(0)))
        if coefficients.shape != (len(spec.features),) or not np.isfinite(coefficients).all():
            raise ModelRefusedError(f"{path}: coefficients do not fit the {len(spec.features)} features of {spec.name}")
        return FittedLinear(estimator)
