"""Version 0: the baseline of a target as a model like any other, so that it can be registered, served and scored.

Belongs here: the engine that forecasts a constant in model units (0 times the volatility for a return, once the average
range for a range). Stays out: what the baseline is (``market.targets``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.engines import EngineBase
from streamlake_assets.learning.spec import Algorithm, ModelSpec
from streamlake_assets.market.series import FloatArray

_FILE = "baseline.json"


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    units: float


@dataclass(frozen=True)
class FittedBaseline:
    """Says the same for every row, in model units."""

    units: float

    def predict(self, x: FloatArray) -> FloatArray:
        """Return ``units`` for every row."""
        return np.full(len(x), self.units)

    def save(self, folder: Path) -> None:
        """Write the constant as JSON."""
        (folder / _FILE).write_bytes(msgspec.json.encode(_Stored(self.units)))


class BaselineEngine(EngineBase):
    """Learns nothing from the rows; the interval around it does, in the walk-forward."""

    name = "baseline"
    params: ClassVar = {Algorithm.BASELINE: frozenset({"units"})}

    def library_versions(self) -> dict[str, str]:
        """Return the version of the one library involved."""
        return {"numpy": np.__version__}

    def fit(self, spec: ModelSpec, x: FloatArray, y: FloatArray) -> FittedBaseline:
        """Take the constant from the spec; the rows are not looked at, there need not be any."""
        return self.fit_rows(spec, (x, y))

    def fit_rows(self, spec: ModelSpec, rows: tuple[FloatArray, FloatArray]) -> FittedBaseline:
        """Take the constant from the spec; the rows are not looked at."""
        self.check(spec)
        return FittedBaseline(float(spec.params["units"]))

    def load(self, spec: ModelSpec, folder: Path) -> FittedBaseline:
        """Read the constant and hold it against the spec.

        Raises:
            ModelRefusedError: the file is missing, unreadable, or says something else than the spec.
        """
        try:
            stored = msgspec.json.decode((folder / _FILE).read_bytes(), type=_Stored)
        except (OSError, msgspec.MsgspecError) as error:
            raise ModelRefusedError(f"{folder}: no readable baseline ({error})") from error
        if stored.units != spec.params.get("units"):
            raise ModelRefusedError(f"{folder}: the baseline {stored.units} is not the one of spec {spec.name}")
        return FittedBaseline(stored.units)
