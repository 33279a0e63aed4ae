"""Model specs: everything that decides what a model becomes, given the data.

Belongs here: the spec, its hash, the version of a model, the specs that are trained by default and their
hyper-parameters. Stays out: engines and libraries: a spec is plain data that can be written in a manifest and sent to
another process.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from streamlake_assets.errors import UsageError
from streamlake_assets.market.features import REGISTRY
from streamlake_assets.market.forecasts import BASELINE_ENGINE
from streamlake_assets.market.selection import SelectionRule
from streamlake_assets.market.targets import Target

VERSION_ZERO_PREFIX = "0-"
"""Versions of the baseline start so; those of trained models with ``m-``."""


class Algorithm(StrEnum):
    """What kind of model a spec describes; the same on every engine that has it."""

    BASELINE = "baseline"
    LINEAR = "linear"
    FOREST = "forest"
    BLOCK_FOREST = "block_forest"
    """A forest in blocks: each tree saw 1/k of the rows, which is less work and another model than ``FOREST``."""
    BOOSTING = "boosting"
    """Gradient boosting on binned features: scikit-learn's HistGradientBoosting."""
    XGBOOST = "xgboost"


class WalkForwardPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is judged: dates before the first test, dates per step, dates left out before each test.

    ``seeds`` walks are made, the first with the spec's own seed: that one decides, the others say how much chance does.
    """

    first_train: int = 252
    step: int = 63
    embargo: int = 5
    seeds: int = 1


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model to train: name, engine, algorithm, target, features, every hyper-parameter, seed, least history.

    With a ``selection`` the features are candidates, of which the rule takes some from the training rows of each fold.
    """

    name: str
    engine: str
    algorithm: Algorithm
    target: Target
    features: tuple[str, ...]
    params: dict[str, bool | int | float | str]
    seed: int = 0
    min_history: int = 63
    plan: WalkForwardPlan = WalkForwardPlan()
    selection: SelectionRule | None = None

    @property
    def is_version_zero(self) -> bool:
        """Whether this is the baseline."""
        return self.engine == BASELINE_ENGINE

    def digest(self) -> str:
        """Return the SHA-256 of the spec's canonical JSON (sorted keys), equal on every machine."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def model_version(data_hash: str, spec: ModelSpec) -> str:
    """Return the version of the model that ``spec`` (its seed included) makes of the data.

    Library versions are left out on purpose: an upgrade must not look like a new model, and the manifest names them.
    """
    digest = hashlib.sha256(f"{data_hash}\n{spec.digest()}".encode()).hexdigest()[:12]
    return f"{VERSION_ZERO_PREFIX if spec.is_version_zero else 'm-'}{digest}"


Params = dict[str, bool | int | float | str]

LINEAR_PARAMS: dict[str, Params] = {
    "sklearn": {"fit_intercept": True, "positive": False, "tol": 1e-6},
    "dask": {
        "fit_intercept": True,
        "solver": "newton",
        "penalty": "l2",
        "C": 1e12,
        "tol": 1e-12,
        "max_iter": 20,
        "blocks": 4,
    },
    "spark": {
        "fit_intercept": True,
        "solver": "normal",
        "penalty": 0.0,
        "elastic_net": 0.0,
        "standardize": True,
        "tol": 1e-12,
        "max_iter": 100,
        "partitions": 4,
    },
}
"""Ordinary least squares on each engine, every hyper-parameter that can change the result said.

Dask-ML's own defaults are no least squares: ADMM with a penalty of 1/C = 1 and a loose stop. Its Newton solver takes no
penalty and is exact for a squared error after one step; a second one refines it.
"""

FOREST_PARAMS: Params = {
    "trees": 60,
    "max_depth": 6,
    "min_leaf_rows": 50,
    "feature_share": 1 / 3,
    "row_share": 1.0,
    "bootstrap": True,
}
"""What all forests share. ``feature_share`` of the features, rounded, at least one, are tried at each split;
``row_share`` of the rows are drawn for each tree; ``min_leaf_rows`` counts a row as often as it was drawn."""

FOREST_EXTRA: dict[str, Params] = {
    "sklearn": {},
    "dask": {},
    "spark": {"bins": 512, "partitions": 4},
}
"""What one engine's forest needs besides: Spark splits at quantiles only, and draws rows partition by partition.

With 32, 128 and 512 bins its forecasts of the return on the real bars correlate by 0.103, 0.030 and 0.005 less with
scikit-learn's than seeds of those do with one another.
"""

BLOCKS: Params = {"blocks": 4}
"""Into how many parts a block forest cuts the shuffled rows; the trees are shared out evenly."""

BOOSTING_PARAMS: Params = {
    "trees": 100,
    "learning_rate": 0.05,
    "max_leaves": 15,
    "max_depth": 6,
    "min_leaf_rows": 50,
    "feature_share": 1.0,
    "l2": 1.0,
    "bins": 255,
}
XGBOOST_PARAMS: Params = {
    "trees": 100,
    "learning_rate": 0.05,
    "max_depth": 4,
    "min_leaf_rows": 50,
    "feature_share": 1.0,
    "row_share": 1.0,
    "l1": 0.0,
    "l2": 1.0,
    "min_gain": 0.0,
    "bins": 256,
}

FEATURES: dict[Target, tuple[str, ...]] = {
    Target.ADJUSTED_RETURN: ("return_1", "return_5", "return_22", "range_1", "volume_z"),
    Target.LOG_RANGE: (
        "range_1",
        "range_5",
        "range_22",
        "range_slow",
        "fall_1",
        "fall_5",
        "volatility_5",
        "volume_z",
    ),
}
"""Features of each target, the same for all algorithms."""

CORE = {Target.ADJUSTED_RETURN: ("return_1",), Target.LOG_RANGE: ("range_1", "range_5", "range_22")}
"""What a selection keeps whatever it finds: the last return; the terms of a heterogeneous autoregression."""

TREE_PLAN = WalkForwardPlan(step=252)
"""Trees are refitted once a year of the walk, not once a quarter: they cost more and forget less."""

CLUSTER_PLAN = WalkForwardPlan(step=1008)
"""Engines whose every fit costs seconds of jobs are refitted every four years of the walk. Their linear regression is
the same model as scikit-learn's (``parity``), so nothing is learned from judging it more finely."""

FOREST_OF = {"sklearn": Algorithm.FOREST, "dask": Algorithm.BLOCK_FOREST, "spark": Algorithm.FOREST}
"""The forest an engine is known for. Dask can spread scikit-learn's own too: ``forest_spec(..., Algorithm.FOREST)``."""


def baseline_spec(target: Target, *, min_history: int = 63, seed: int = 0) -> ModelSpec:
    """Return version 0 of a target: its baseline as a model that needs no feature."""
    return ModelSpec(
        name=f"{target.value}_baseline",
        engine=BASELINE_ENGINE,
        algorithm=Algorithm.BASELINE,
        target=target,
        features=(),
        params={"units": target.baseline_units},
        seed=seed,
        min_history=min_history,
    )


def _spec(
    target: Target,
    engine: str,
    algorithm: Algorithm,
    params: Params,
    *,
    min_history: int,
    seed: int,
) -> ModelSpec:
    return ModelSpec(
        name=f"{target.value}_{algorithm.value}",
        engine=engine,
        algorithm=algorithm,
        target=target,
        features=FEATURES[target],
        params=dict(params),
        seed=seed,
        min_history=min_history,
        plan=_plan(engine, algorithm),
    )


def _plan(engine: str, algorithm: Algorithm) -> WalkForwardPlan:
    if engine in ("dask", "spark"):
        return CLUSTER_PLAN
    if algorithm is Algorithm.LINEAR:
        return WalkForwardPlan()
    return msgspec.structs.replace(TREE_PLAN, seeds=3) if algorithm is Algorithm.FOREST else TREE_PLAN


def linear_spec(target: Target, engine: str, *, min_history: int = 63, seed: int = 0) -> ModelSpec:
    """Return least squares on one engine.

    Raises:
        UsageError: an engine that has no linear regression.
    """
    _known(engine)
    return _spec(target, engine, Algorithm.LINEAR, LINEAR_PARAMS[engine], min_history=min_history, seed=seed)


def forest_spec(
    target: Target, engine: str, algorithm: Algorithm | None = None, *, min_history: int = 63, seed: int = 0
) -> ModelSpec:
    """Return the forest of one engine; ``algorithm`` tells a forest from a block forest where an engine has both.

    Raises:
        UsageError: an engine that has no forest.
    """
    _known(engine)
    chosen = algorithm or FOREST_OF[engine]
    params = FOREST_PARAMS | FOREST_EXTRA[engine] | (BLOCKS if chosen is Algorithm.BLOCK_FOREST else {})
    return _spec(target, engine, chosen, params, min_history=min_history, seed=seed)


def _known(engine: str) -> None:
    if engine not in FOREST_OF:
        raise UsageError(f"no default spec for engine {engine!r}; there are {', '.join(FOREST_OF)}")


def default_specs(
    engines: Sequence[str] = ("sklearn",), *, min_history: int = 63, seed: int = 0
) -> tuple[ModelSpec, ...]:
    """Return the specs trained by default: version 0 of both targets, then a linear regression and a forest on each.

    Args:
        engines: of sklearn, dask, spark.
        min_history: sessions an instrument needs.
        seed: seed of every spec.

    Raises:
        UsageError: an engine that is not one of them.
    """
    specs = [baseline_spec(t, min_history=min_history, seed=seed) for t in Target]
    for name in engines:
        specs += [linear_spec(t, name, min_history=min_history, seed=seed) for t in Target]
        specs += [forest_spec(t, name, min_history=min_history, seed=seed) for t in Target]
    return tuple(specs)


def selected_specs(*, min_history: int = 63, seed: int = 0) -> tuple[ModelSpec, ...]:
    """Return a linear regression of scikit-learn on each target that takes its features from the whole registry."""
    return tuple(
        msgspec.structs.replace(
            linear_spec(target, "sklearn", min_history=min_history, seed=seed),
            name=f"{target.value}_{Algorithm.LINEAR.value}_selected",
            features=tuple(REGISTRY),
            selection=SelectionRule(core=CORE[target]),
            plan=TREE_PLAN,
        )
        for target in Target
    )


def reference_specs(*, min_history: int = 63, seed: int = 0) -> tuple[ModelSpec, ...]:
    """Return what the three engines are held against on both targets: two kinds of gradient boosting."""
    kinds = (
        ("sklearn", Algorithm.BOOSTING, BOOSTING_PARAMS),
        ("xgboost", Algorithm.XGBOOST, XGBOOST_PARAMS),
    )
    return tuple(
        _spec(target, engine, algorithm, params, min_history=min_history, seed=seed)
        for engine, algorithm, params in kinds
        for target in Target
    )
