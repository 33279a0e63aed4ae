"""Serving: which model speaks for a target, and the forecasts it makes.

Belongs here: the choice of the champion, loading it, forecasting all instruments. Stays out: where folders and
manifests are kept (the caller hands them in), the ledger.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.engines import FittedModel, engine
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.forecasts import Forecast, issue
from streamlake_assets.market.series import FloatArray, SessionSeries
from streamlake_assets.market.targets import Target


@dataclass(frozen=True)
class ServingModel:
    """A loaded model in the shape ``market.forecasts.issue`` asks for."""

    manifest: Manifest
    fitted: FittedModel

    @property
    def target(self) -> Target:
        """Target it was fitted on."""
        return self.manifest.target

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.manifest.version

    @property
    def engine(self) -> str:
        """Name of the engine that fitted it."""
        return self.manifest.engine

    @property
    def features(self) -> tuple[str, ...]:
        """Names of its features, in order."""
        return self.manifest.features

    @property
    def quantile(self) -> float:
        """Half width of the interval in model units."""
        return self.manifest.quantile

    @property
    def has_skill(self) -> bool:
        """Whether it passed the gate."""
        return self.manifest.has_skill

    @property
    def min_history(self) -> int:
        """Sessions an instrument needs before it is forecast."""
        return self.manifest.spec.min_history

    def predict(self, x: FloatArray) -> FloatArray:
        """Predict n rows (n by features), in model units."""
        return self.fitted.predict(x)


@dataclass(frozen=True)
class Champion:
    """The model that serves a target, and why better placed ones do not (one sentence each)."""

    model: ServingModel
    refused: tuple[str, ...] = ()


def load_model(manifest: Mapping[str, Any], folder: Path) -> ServingModel:
    """Load one model from a folder whose checksums have been verified.

    Raises:
        ModelRefusedError: manifest or files are not those of a model of this project.
    """
    read = read_manifest(manifest)
    return ServingModel(read, engine(read.engine).load(read.fitted_spec, folder))


def champion_order(target: Target, manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return the models that may serve a target, best placed first.

    The newest data decide (by last session, then time of training): of the models that learned from them the best that
    passed the gate, else version 0. What follows serves only if those before cannot be opened: models of older data,
    judged the same way.
    """
    by_data: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        if manifest.target is target:
            by_data.setdefault(manifest.data_hash, []).append(manifest)
    order: list[Manifest] = []
    for models in sorted(
        by_data.values(), key=lambda ms: max((m.last_session, m.trained_at) for m in ms), reverse=True
    ):
        passed = [m for m in models if m.has_skill and not m.is_version_zero]
        order += sorted(passed, key=lambda m: (-m.skill, m.version))
        order += sorted((m for m in models if m.is_version_zero), key=lambda m: m.trained_at, reverse=True)
    return order


def load_champion(
    target: Target, manifests: Iterable[Mapping[str, Any]], open_folder: Callable[[str], Path]
) -> Champion:
    """Load the champion of a target; one that is refused is passed over, and its successor says so.

    Args:
        target: what to forecast.
        manifests: of every published version, plain values as published.
        open_folder: verifies a version and returns its folder; raises ModelRefusedError when it is not whole.

    Raises:
        ModelRefusedError: every model that may serve was refused.
        UsageError: no model of this target has been published.
    """
    refused: list[str] = []
    readable: list[Manifest] = []
    for plain in manifests:
        try:
            readable.append(read_manifest(plain))
        except ModelRefusedError as error:
            refused.append(str(error))
    order = champion_order(target, readable)
    for manifest in order:
        try:
            fitted = engine(manifest.engine).load(manifest.fitted_spec, open_folder(manifest.version))
        except ModelRefusedError as error:
            refused.append(str(error))
        else:
            return Champion(ServingModel(manifest, fitted), tuple(refused))
    if refused:
        raise ModelRefusedError(f"no model of {target} can serve: {'; '.join(refused)}")
    raise UsageError(f"no model of {target} has been published: train first")


def forecast_next(
    models: Sequence[ServingModel],
    series: Sequence[SessionSeries],
    next_session: Callable[[SessionSeries], dt.date],
) -> list[Forecast]:
    """Forecast the next session of every instrument that has enough history, by every model.

    Args:
        models: one champion per target.
        series: settled sessions, one series per instrument.
        next_session: the calendar's answer for a series.

    Raises:
        UsageError: a series cannot be forecast for another reason than a short history.
    """
    return [
        issue(model, one, next_session(one))
        for one in series
        for model in models
        if len(one) >= max(model.min_history, LOOKBACK)
    ]
