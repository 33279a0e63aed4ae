"""Gradient boosting by XGBoost, saved in XGBoost's own JSON, served as plain arrays.

Belongs here: everything that knows XGBoost. Stays out: scoring and splits, which all engines share. Loading reads the
JSON itself: a file from elsewhere never reaches the library's parser, and serving does not need the library.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.engines import (
    DEFAULT_RESOURCES,
    EngineBase,
    Resources,
    features_per_split,
    needs_library,
)
from streamlake_assets.learning.portable import PortableForest, PortableModel
from streamlake_assets.learning.spec import XGBOOST_PARAMS, Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

_FILE = "model.json"


class XgboostEngine(EngineBase):
    """XGBoost's histogram method in this very process."""

    name = "xgboost"
    params: ClassVar = {Algorithm.XGBOOST: frozenset(XGBOOST_PARAMS)}

    def __init__(self, resources: Resources = DEFAULT_RESOURCES) -> None:
        self._cores = resources.cores

    def library_versions(self) -> dict[str, str]:
        """Return the versions of XGBoost and NumPy.

        Raises:
            UsageError: XGBoost is not installed.
        """
        with needs_library(self.name):
            return {"xgboost": version("xgboost-cpu"), "numpy": np.__version__}

    def fit_rows(self, spec: ModelSpec, rows: tuple[FloatArray, FloatArray]) -> PortableModel:
        """Fit every hyper-parameter as the spec says it.

        Raises:
            UsageError: XGBoost is not installed, or an algorithm or hyper-parameters it does not know.
        """
        self.check(spec)
        with needs_library(self.name):
            import xgboost
        x, y = rows
        params = spec.params
        booster = xgboost.train(
            {
                "objective": "reg:squarederror",
                "base_score": float(np.mean(y)),
                "booster": "gbtree",
                "tree_method": "hist",
                "grow_policy": "depthwise",
                "eta": float(params["learning_rate"]),
                "max_depth": int(params["max_depth"]),
                "max_leaves": 0,
                "min_child_weight": float(params["min_leaf_rows"]),
                "gamma": float(params["min_gain"]),
                "subsample": float(params["row_share"]),
                "sampling_method": "uniform",
                "colsample_bytree": 1.0,
                "colsample_bylevel": 1.0,
                "colsample_bynode": features_per_split(spec) / len(spec.features),
                "lambda": float(params["l2"]),
                "alpha": float(params["l1"]),
                "max_bin": int(params["bins"]),
                "max_delta_step": 0.0,
                "num_parallel_tree": 1,
                "seed": spec.seed,
                "nthread": self._cores,
                "verbosity": 0,
            },
            xgboost.QuantileDMatrix(x, y, max_bin=int(params["bins"]), nthread=self._cores),
            num_boost_round=int(params["trees"]),
        )
        raw = bytes(booster.save_raw(raw_format="json"))
        scorer = _arrays(raw, len(spec.features), "the fitted model")
        return PortableModel(scorer, lambda folder: _write(folder, raw), lambda new: _predict(booster, new))

    def load(self, spec: ModelSpec, folder: Path) -> PortableModel:
        """Read the JSON; the library is not asked.

        Raises:
            ModelRefusedError: the file is missing or broken, or is another model.
        """
        self.check_stored(spec)
        path = folder / _FILE
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ModelRefusedError(f"{path}: cannot be read ({error})") from error
        return PortableModel(_arrays(raw, len(spec.features), str(path)), lambda to: _write(to, raw))


def _write(folder: Path, raw: bytes) -> None:
    (folder / _FILE).write_bytes(raw)


def _predict(booster: Any, x: FloatArray) -> FloatArray:
    values: FloatArray = booster.inplace_predict(x).astype(np.float64)
    return values


def _arrays(raw: bytes, features: int, where: str) -> PortableForest:
    """Return the trees of XGBoost's JSON (schema of its documentation, "Introduction to Model IO").

    XGBoost compares in single precision and goes left where x < threshold; for such numbers that is the same as
    x <= the next number below it.
    """
    try:
        learner = msgspec.json.decode(raw)["learner"]
        if learner["gradient_booster"]["name"] != "gbtree" or learner["objective"]["name"] != "reg:squarederror":
            raise ModelRefusedError(f"{where}: another kind of XGBoost model")
        if int(learner["learner_model_param"]["num_feature"]) != features:
            raise ModelRefusedError(f"{where}: does not fit the {features} features")
        # a list of one in XGBoost 3, a plain number before
        base = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
        trees = learner["gradient_booster"]["model"]["trees"]
        if any(any(tree["split_type"]) for tree in trees):
            raise ModelRefusedError(f"{where}: splits by category")
        conditions = np.concatenate([np.array(t["split_conditions"], dtype=np.float32) for t in trees])
        left = np.concatenate([np.array(t["left_children"], dtype=np.int64) for t in trees])
        arrays = {
            "feature": np.concatenate([np.array(t["split_indices"], dtype=np.int64) for t in trees]),
            "threshold": np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64),
            "left": left,
            "right": np.concatenate([np.array(t["right_children"], dtype=np.int64) for t in trees]),
            "value": np.where(left < 0, conditions, np.float32(0)).astype(np.float64),
            "offsets": np.cumsum([0, *(len(t["left_children"]) for t in trees)]),
        }
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ModelRefusedError(f"{where}: cannot be read as an XGBoost model ({error})") from error
    return PortableForest.checked(arrays, features, where, average=False, base=base, single_precision=True)
