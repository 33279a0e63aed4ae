"""Builders of models, forecasts and scores for tests of the ledger; every default can be overridden by name."""

import datetime as dt
from typing import Any

from streamlake_assets.market.forecasts import Forecast, Score
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.bars import SESSION

NEXT = SESSION + dt.timedelta(days=1)


def model(version: str = "m1", **changes: Any) -> dict[str, Any]:
    """The manifest of a model, as far as the ledger reads it."""
    made = {
        "version": version, "engine": "sklearn", "target": Target.ADJUSTED_RETURN.value, "name": "linear",
        "data_hash": "hash", "skill": 0.01, "skill_low": -0.01, "skill_high": 0.03, "has_skill": False,
    }  # fmt: skip
    return {**made, **changes}


def forecast(**changes: Any) -> Forecast:
    """A forecast of AAPL's next session."""
    made: dict[str, Any] = {
        "symbol": "AAPL", "exchange": "XNYS", "target": Target.ADJUSTED_RETURN, "session": NEXT,
        "after_session": SESSION, "model_version": "m1", "engine": "sklearn", "point": 0.001, "low": -0.02,
        "high": 0.022, "baseline": 0.0, "scale": 0.01, "has_skill": False,
    }  # fmt: skip
    return Forecast(**{**made, **changes})


def a_score(**changes: Any) -> Score:
    """The score of that forecast."""
    made: dict[str, Any] = {
        "symbol": "AAPL", "exchange": "XNYS", "target": Target.ADJUSTED_RETURN, "session": NEXT, "model_version": "m1",
        "realised": 0.0105, "error": 0.0095, "squared_error": 0.0095**2, "baseline_error": 0.0105,
        "baseline_squared_error": 0.0105**2, "covered": True, "direction_hit": True,
    }  # fmt: skip
    return Score(**{**made, **changes})
