"""Limits on forecasts, judged when these are in the ledger.

Belongs here: choosing the forecasts a limit is about, writing edges. Stays out: what a limit means
(``market.thresholds``), which are in force (``threshold_watch``), who is told (``alert_outbox``).
"""

import datetime as dt
import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from streamlake_assets.market.alerts import Edge, Known
from streamlake_assets.market.forecasts import Forecast
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.threshold_watch import Limits, utc_now


class ForecastWatch:
    """Judges the limits on forecasts after these were committed."""

    def __init__(
        self, now: Callable[[], dt.datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._limits = Limits(monotonic)

    def __call__(self, engine: sa.Engine, forecasts: Sequence[Forecast]) -> list[Edge]:
        """Judge forecasts; return the edges.

        Raises:
            TryLaterError: the database is not available.
        """
        if not self._limits.is_due and not self._limits.of_forecasts:
            # a bar waits for its forecast: without limits no transaction is begun
            return []
        with outages_as_try_later("judging limits on forecasts"), engine.begin() as connection:
            self._limits.look(connection)
            seen = []
            for limit in self._limits.of_forecasts:
                for forecast in forecasts:
                    instrument = Instrument(forecast.symbol, forecast.exchange)
                    meant = forecast.target is limit.target and (forecast.has_skill or not limit.with_skill)
                    if meant and limit.watches(instrument):
                        known = self._limits.known(connection).get(limit.subject_key(instrument), Known())
                        seen.append(limit.observe(instrument, forecast.point, known, self._now(), _said(forecast)))
            return self._limits.record(connection, seen)


def _said(forecast: Forecast) -> str:
    return (
        f"the forecast of {forecast.target.value} for {forecast.session} is {forecast.point:.4g} "
        f"({forecast.coverage:.0%} from {forecast.low:.4g} to {forecast.high:.4g}, by {forecast.model_version})"
    )
