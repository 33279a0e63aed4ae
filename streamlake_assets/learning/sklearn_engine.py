"""Linear regression, forest and histogram boosting by scikit-learn, saved with skops, served as plain arrays.

Belongs here: everything that knows scikit-learn or skops. Stays out: scoring and splits, which all engines share.
Loading trusts lists of types pinned here, one per algorithm; a list is never taken from the file that asks to be
trusted. Trees of trusted types may still hold hostile numbers: nothing walks through them before they were checked.
"""

import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sklearn
import skops
import skops.io
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from skops.io.exceptions import UntrustedTypesFoundException
from threadpoolctl import ThreadpoolController

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.engines import DEFAULT_RESOURCES, EngineBase, Resources, features_per_split
from streamlake_assets.learning.portable import PortableForest, PortableLinear, PortableModel, Scorer
from streamlake_assets.learning.spec import BOOSTING_PARAMS, FOREST_PARAMS, LINEAR_PARAMS, Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

_FILE = "model.skops"
_TYPES: dict[Algorithm, type] = {
    Algorithm.LINEAR: LinearRegression,
    Algorithm.FOREST: RandomForestRegressor,
    Algorithm.BOOSTING: HistGradientBoostingRegressor,
}
_ALLOWED_TYPES: dict[Algorithm, list[str]] = {
    Algorithm.LINEAR: [],
    Algorithm.FOREST: ["sklearn.tree._tree.Tree"],
    Algorithm.BOOSTING: ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
}
"""Types beyond the ones skops itself trusts."""


class SklearnEngine(EngineBase):
    """scikit-learn in this very process, on the cores it was given; their number does not change the result."""

    name = "sklearn"
    params: ClassVar = {
        Algorithm.LINEAR: frozenset(LINEAR_PARAMS["sklearn"]),
        Algorithm.FOREST: frozenset(FOREST_PARAMS),
        Algorithm.BOOSTING: frozenset(BOOSTING_PARAMS),
    }

    def __init__(self, resources: Resources = DEFAULT_RESOURCES) -> None:
        self._cores = resources.cores

    def library_versions(self) -> dict[str, str]:
        """Return the versions of scikit-learn, skops and NumPy."""
        return {"scikit-learn": sklearn.__version__, "skops": skops.__version__, "numpy": np.__version__}

    def fit_rows(self, spec: ModelSpec, rows: tuple[FloatArray, FloatArray]) -> PortableModel:
        """Fit every hyper-parameter as the spec says it.

        Raises:
            UsageError: an algorithm or hyper-parameters this engine does not know.
        """
        self.check(spec)
        x, y = rows
        make = {Algorithm.LINEAR: _linear, Algorithm.BOOSTING: _boosting}.get(spec.algorithm)
        estimator = make(spec) if make else forest_estimator(spec, len(x), n_jobs=self._cores)
        # linear algebra on more threads may round differently
        with _thread_pools().limit(limits={"blas": 1, "openmp": self._cores}):
            estimator.fit(x, y)
        return _model(spec, estimator, "the fitted model")

    def load(self, spec: ModelSpec, folder: Path) -> PortableModel:
        """Load the estimator without running any code of the file.

        Raises:
            ModelRefusedError: the file is missing or broken, holds a type outside the list, or is another model.
        """
        self.check_stored(spec)
        path = folder / _FILE
        try:
            estimator = skops.io.load(path, trusted=_ALLOWED_TYPES[spec.algorithm])
        except UntrustedTypesFoundException as error:
            raise ModelRefusedError(f"{path}: holds a type that is not allowed ({error})") from error
        except (OSError, zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError, EOFError) as error:
            raise ModelRefusedError(f"{path}: cannot be read as a model ({error})") from error
        if type(estimator) is not _TYPES[spec.algorithm]:
            raise ModelRefusedError(f"{path}: holds a {type(estimator).__name__}, not a {spec.algorithm.value} model")
        return _model(spec, estimator, str(path))


@cache
def _thread_pools() -> ThreadpoolController:
    """Look for the libraries that have threads once a process: each look takes 6 ms, a sixth of a linear fit."""
    return ThreadpoolController()


def _model(spec: ModelSpec, estimator: Any, where: str) -> PortableModel:
    features = len(spec.features)
    scorer: Scorer
    try:
        if spec.algorithm is Algorithm.LINEAR:
            scorer = PortableLinear.checked(estimator.coef_, estimator.intercept_, features, where)
        elif spec.algorithm is Algorithm.FOREST:
            scorer = forest_arrays(estimator.estimators_, features, where)
        else:
            scorer = _boosting_arrays(estimator, features, where)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelRefusedError(f"{where}: not a fitted {spec.algorithm.value} model ({error})") from error
    return PortableModel(scorer, lambda folder: skops.io.dump(estimator, folder / _FILE), estimator.predict)


def _linear(spec: ModelSpec) -> LinearRegression:
    """Ordinary least squares by an orthogonal decomposition, on one core; no random number is drawn."""
    return LinearRegression(
        fit_intercept=bool(spec.params["fit_intercept"]),
        copy_X=True,
        tol=float(spec.params["tol"]),
        n_jobs=None,
        positive=bool(spec.params["positive"]),
    )


def forest_estimator(spec: ModelSpec, rows: int, *, n_jobs: int, blocks: int = 1) -> RandomForestRegressor:
    """Return the unfitted forest of a spec, or of one block of it.

    The least leaf counts a row as often as it was drawn, as Spark does: scikit-learn's own ``min_samples_leaf`` counts
    it once, so the weight of a leaf is bounded instead, half a row below so that rounding cannot shut out a full leaf.

    Args:
        spec: of a forest.
        rows: rows it will be fitted on.
        n_jobs: threads.
        blocks: parts that the trees are shared out to.
    """
    params = spec.params
    drawn = max(1, round(float(params["row_share"]) * rows)) if params["bootstrap"] else rows
    return RandomForestRegressor(
        n_estimators=int(params["trees"]) // blocks,
        criterion="squared_error",
        max_depth=int(params["max_depth"]),
        min_samples_split=2,
        min_samples_leaf=1,
        min_weight_fraction_leaf=min(0.5, (int(params["min_leaf_rows"]) - 0.5) / drawn),
        max_features=features_per_split(spec),
        max_leaf_nodes=None,
        min_impurity_decrease=0.0,
        bootstrap=bool(params["bootstrap"]),
        oob_score=False,
        n_jobs=n_jobs,
        random_state=spec.seed,
        verbose=0,
        warm_start=False,
        ccp_alpha=0.0,
        max_samples=float(params["row_share"]) if params["bootstrap"] else None,
        monotonic_cst=None,
    )


def forest_arrays(estimators: Sequence[Any], features: int, where: str) -> PortableForest:
    """Return fitted regression trees as one averaging forest.

    Raises:
        ModelRefusedError: not whole trees over that many features.
    """
    trees = [estimator.tree_ for estimator in estimators]
    for tree in trees:
        # a tree says itself how many nodes it has: beyond its memory it would read what is not its own
        if type(tree) is not sklearn.tree._tree.Tree or not 0 < tree.node_count <= tree.capacity:
            raise ModelRefusedError(f"{where}: holds a tree that is not whole")
        if tree.value.shape != (tree.node_count, 1, 1) or tree.n_features != features:
            raise ModelRefusedError(f"{where}: a tree over {tree.n_features} features where {features} are expected")
    if not trees:
        raise ModelRefusedError(f"{where}: a forest without trees")
    arrays = {
        "feature": np.concatenate([t.feature for t in trees]),
        "threshold": np.concatenate([t.threshold for t in trees]),
        "left": np.concatenate([t.children_left for t in trees]),
        "right": np.concatenate([t.children_right for t in trees]),
        "value": np.concatenate([t.value[:, 0, 0] for t in trees]),
        "offsets": np.cumsum([0, *(t.node_count for t in trees)]),
    }
    return PortableForest.checked(arrays, features, where, average=True, single_precision=True)


def _boosting(spec: ModelSpec) -> HistGradientBoostingRegressor:
    params = spec.params
    return HistGradientBoostingRegressor(
        loss="squared_error",
        quantile=None,
        learning_rate=float(params["learning_rate"]),
        max_iter=int(params["trees"]),
        max_leaf_nodes=int(params["max_leaves"]),
        max_depth=int(params["max_depth"]),
        min_samples_leaf=int(params["min_leaf_rows"]),
        l2_regularization=float(params["l2"]),
        max_features=float(params["feature_share"]),
        max_bins=int(params["bins"]),
        categorical_features=None,
        monotonic_cst=None,
        interaction_cst=None,
        warm_start=False,
        early_stopping=False,
        random_state=spec.seed,
        verbose=0,
    )


def _boosting_arrays(estimator: HistGradientBoostingRegressor, features: int, where: str) -> PortableForest:
    nodes = [iteration[0].nodes for iteration in estimator._predictors]
    if any(len(iteration) != 1 for iteration in estimator._predictors):
        raise ModelRefusedError(f"{where}: more than one tree per iteration")
    joined = np.concatenate(nodes)
    leaf = joined["is_leaf"].astype(bool)
    if joined["is_categorical"].any():
        raise ModelRefusedError(f"{where}: splits by category")
    arrays = {
        "feature": joined["feature_idx"].astype(np.int64),
        "threshold": joined["num_threshold"],
        "left": np.where(leaf, -1, joined["left"].astype(np.int64)),
        "right": np.where(leaf, -1, joined["right"].astype(np.int64)),
        "value": joined["value"],
        "offsets": np.cumsum([0, *(len(n) for n in nodes)]),
    }
    base = float(np.asarray(estimator._baseline_prediction).reshape(()))
    return PortableForest.checked(arrays, features, where, average=False, base=base)
