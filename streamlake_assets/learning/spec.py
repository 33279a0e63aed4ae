"""Model specs: everything that decides what a model becomes, given the data.

Belongs here: the spec, its hash, the version of a model, the specs that are trained by default. Stays out: engines and
libraries: a spec is plain data that can be written in a manifest and sent to another process.
"""

import hashlib
from enum import StrEnum

import msgspec

from streamlake_assets.market.forecasts import BASELINE_ENGINE
from streamlake_assets.market.targets import Target

VERSION_ZERO_PREFIX = "0-"
"""Versions of the baseline start so; those of trained models with ``m-``."""


class Algorithm(StrEnum):
    """What kind of model a spec describes; the same on every engine that has it."""

    BASELINE = "baseline"
    LINEAR = "linear"
    FOREST = "forest"
    BOOSTING = "boosting"
    """Gradient boosting on binned features: scikit-learn's HistGradientBoosting."""
    XGBOOST = "xgboost"


class WalkForwardPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is judged: dates before the first test, dates per step, dates left out before each test."""

    first_train: int = 252
    step: int = 63
    embargo: int = 5


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model to train: name, engine, algorithm, target, features, every hyper-parameter, seed, least history."""

    name: str
    engine: str
    algorithm: Algorithm
    target: Target
    features: tuple[str, ...]
    params: dict[str, bool | int | float | str]
    seed: int = 0
    min_history: int = 63
    plan: WalkForwardPlan = WalkForwardPlan()

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


LINEAR_PARAMS: dict[str, bool | int | float | str] = {"fit_intercept": True, "positive": False, "tol": 1e-6}
"""Ordinary least squares, every hyper-parameter that can change the result said."""


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


def default_specs(*, min_history: int = 63, seed: int = 0) -> tuple[ModelSpec, ...]:
    """Return the specs trained by default: version 0 and a linear regression on each target."""
    features = {
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
    linear = (
        ModelSpec(
            name=f"{target.value}_linear",
            engine="sklearn",
            algorithm=Algorithm.LINEAR,
            target=target,
            features=names,
            params=LINEAR_PARAMS,
            seed=seed,
            min_history=min_history,
        )
        for target, names in features.items()
    )
    return (*(baseline_spec(t, min_history=min_history, seed=seed) for t in Target), *linear)
