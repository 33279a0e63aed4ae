"""Whether to train a spec again: the facts gathered from its newest model and the present training set.

Belongs here: the joins between model folders, frame and the rule. Stays out: the rule (``market.retraining``), drift
itself (``market.drift``), training (``training``).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.losses import read_losses
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.learning.spec import Algorithm, ModelSpec
from streamlake_assets.market.drift import drift_since
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.gate import DateLosses, date_losses
from streamlake_assets.market.retraining import (
    RetrainDecision,
    RetrainFacts,
    SkillDecay,
    decide_retraining,
    skill_decay,
)
from streamlake_assets.market.series import IntArray, ordinal
from streamlake_assets.stores.model_folder import ModelFolder

LEAST_HISTORY = 8
"""Dates of losses below which an expected skill has no interval."""


def decide_all(models: ModelFolder, frame: TrainingFrame, specs: Sequence[ModelSpec]) -> dict[str, RetrainDecision]:
    """Decide for each spec, by name; the manifests are read once for all."""
    manifests = [read_manifest(plain) for plain in models.catalogue().manifests]
    return {spec.name: decide(models, manifests, frame, spec) for spec in specs}


def decide(
    models: ModelFolder, manifests: Sequence[Manifest], frame: TrainingFrame, spec: ModelSpec
) -> RetrainDecision:
    """Decide whether a spec is trained on the present rows, and say why.

    Rows whose target came true after the newest one its last model learned from are new: that model's forecasts of
    them are out of sample, and are what live skill is measured on.
    """
    newest = _newest(models, manifests, spec)
    if newest is None:
        return decide_retraining(RetrainFacts(trained=False))
    last, folder = newest
    if last.spec_hash != spec.digest():
        return decide_retraining(RetrainFacts(trained=True, changed="its spec", train_rows=last.rows))
    new = frame.target_sessions > ordinal(last.last_session)
    old = ~new
    drifted: tuple[str, ...] = ()
    decay = None
    if new.any() and old.any():
        drifted = drift_since(spec.features, frame.columns(spec.features), frame.sessions, old).drifted
        decay = _decay(last, folder, frame, np.flatnonzero(new))
    return decide_retraining(
        RetrainFacts(
            trained=True,
            new_dates=len(np.unique(frame.sessions[new])),
            train_rows=last.rows,
            new_rows=int(new.sum()),
            parameters=len(last.features) + 1 if spec.algorithm is Algorithm.LINEAR else None,
            drifted=drifted,
            decay=decay,
            max_age_dates=spec.plan.step,
            training_seconds=last.training_seconds,
        )
    )


def _newest(models: ModelFolder, manifests: Sequence[Manifest], spec: ModelSpec) -> tuple[Manifest, Path] | None:
    """Return the newest whole model of a spec and its folder, by name and engine: of an older wording of it too."""
    same = [m for m in manifests if (m.name, m.engine) == (spec.name, spec.engine)]
    for manifest in sorted(same, key=lambda m: (m.last_session, m.trained_at), reverse=True):
        try:
            return manifest, models.open(manifest.version)
        except ModelRefusedError:
            # as if it had not been trained: it is made again
            continue
    return None


def _decay(last: Manifest, folder: Path, frame: TrainingFrame, rows: IntArray) -> SkillDecay | None:
    history = read_losses(folder)
    if len(history) < LEAST_HISTORY:
        return None
    return skill_decay(_losses_since(last, folder, frame, rows), history)


def _losses_since(last: Manifest, folder: Path, frame: TrainingFrame, rows: IntArray) -> DateLosses:
    fitted = engine(last.engine).load(last.fitted_spec, folder)
    target, x = last.target, frame.columns(last.features)[rows]
    scale = frame.scale[target][rows]
    forecast = fitted.predict(x) * scale
    if not target.has_direction:
        forecast = np.maximum(forecast, 0.0)
    return date_losses(frame.sessions[rows], frame.y[target][rows], forecast, frame.baseline[target][rows], scale)
