"""The manifest of a model: what it is, what it learned from, how good it was. Plain data, written beside the model.

Belongs here: its fields and how it is read back. Stays out: the files' checksums, which whoever publishes the folder
adds as ``files``.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.targets import Target


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything said about one model.

    ``first_session`` and ``last_session`` bound what it learned from (the newest is a target's session); ``offsets``
    is the caller's vector (topic partition to offset). ``features`` are those it takes, in order. ``skill``,
    ``skill_low`` and ``skill_high`` are out of fold over ``test_rows`` rows in ``folds`` folds, errors in the target's
    own unit; of version 0 skill is 0 by definition.
    ``log_e`` is the natural logarithm of the evidence for skill (``market.gate``), ``has_skill`` whether it has ever
    reached what one spec alone would need; who speaks is decided over all specs together. ``quantile`` is the half
    width of the 90 % interval in units of the scale.
    """

    version: str
    name: str
    engine: str
    target: Target
    spec: ModelSpec
    spec_hash: str
    data_hash: str
    features: tuple[str, ...]
    seed: int
    rows: int
    instruments: tuple[str, ...]
    first_session: dt.date
    last_session: dt.date
    offsets: dict[str, int]
    skill: float
    skill_low: float
    skill_high: float
    has_skill: bool
    log_e: float
    rmse: float
    baseline_rmse: float
    direction_accuracy: float | None
    direction_base_rate: float | None
    test_rows: int
    test_dates: int
    folds: int
    quantile: float
    coverage: float
    library_versions: dict[str, str]
    trained_at: dt.datetime
    training_seconds: float

    @property
    def is_version_zero(self) -> bool:
        """Whether this is the baseline."""
        return self.spec.is_version_zero

    @property
    def fitted_spec(self) -> ModelSpec:
        """The spec as it was fitted: with the features it takes."""
        return msgspec.structs.replace(self.spec, features=self.features)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def read_manifest(plain: Mapping[str, Any]) -> Manifest:
    """Read a manifest from plain values; fields that others added (such as ``files``) are passed over.

    Raises:
        ModelRefusedError: a field is missing, of another type, or contradicts the spec.
    """
    try:
        manifest = msgspec.convert(dict(plain), Manifest)
    except msgspec.ValidationError as error:
        raise ModelRefusedError(f"manifest of {plain.get('version', 'a model')}: {error}") from error
    spec = manifest.spec
    said = (manifest.spec_hash, manifest.engine, manifest.target, manifest.seed, manifest.name)
    if said != (spec.digest(), spec.engine, spec.target, spec.seed, spec.name):
        raise ModelRefusedError(f"manifest of {manifest.version}: contradicts its own spec")
    if not set(manifest.features) <= set(spec.features) or (
        spec.selection is None and manifest.features != spec.features
    ):
        raise ModelRefusedError(f"manifest of {manifest.version}: takes features that its spec does not have")
    return manifest
