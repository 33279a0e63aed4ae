"""Who forecasts the sessions of a replay: this process, or the scorer beside it, which is then waited for.

Belongs here: forecasts that are in the ledger before a session is revealed, and their scores after. Stays out: the
replay itself (``replay``), how a forecast is made (``flows.forecasting``), the scorer (``scorer``).
"""

import datetime as dt
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa

from streamlake_assets.errors import TryLaterError
from streamlake_assets.flows.forecasting import issue_forecasts, next_session, score_due
from streamlake_assets.learning.serve import ServingModel
from streamlake_assets.market.feature_state import newest_features
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores import bar_reader, ledger, schema
from streamlake_assets.stores.ledger_feed import forecast_instruments

_POLL_S = 0.02


class Said(NamedTuple):
    """Forecasts of a session: how many are in the ledger for this replay, and how many of them came too late."""

    new: int
    late: int


class Forecasts(Protocol):
    """Who forecasts the sessions of a replay, and scores them."""

    def before(self, session: dt.date, known: Sequence[SessionSeries]) -> Said:
        """Return when the forecasts of a session are in the ledger; nothing of it was sent yet.

        Args:
            session: that comes next.
            known: settled sessions of the instruments that have none from then on.

        Raises:
            TryLaterError: the database is not available, or nobody forecasts.
        """

    def after(self, series: Sequence[SessionSeries]) -> int:
        """Return how many forecasts were scored since the last call; the tables hold the session.

        Raises:
            TryLaterError: the database is not available.
        """


class OwnForecasts:
    """``Forecasts`` made by this process."""

    def __init__(self, engine: sa.Engine, models: Sequence[ServingModel]) -> None:
        self._engine = engine
        self._models = models

    def before(self, session: dt.date, known: Sequence[SessionSeries]) -> Said:
        """Issue them."""
        issued = issue_forecasts(self._engine, self._models, known).issued if known else None
        return Said(issued.new, issued.late) if issued else Said(0, 0)

    def after(self, series: Sequence[SessionSeries]) -> int:
        """Score what is due."""
        return score_due(self._engine, series)


class ScorerForecasts:
    """``Forecasts`` that the scorer makes: they are waited for.

    Args:
        engine: of a user that may read the ledger.
        min_history: sessions that an instrument needs before it is forecast.
        patience_s: longest wait for the forecasts of one session.
    """

    def __init__(self, engine: sa.Engine, min_history: int, patience_s: float = 60.0) -> None:
        self._engine = engine
        self._least = max(min_history, LOOKBACK)
        self._patience_s = patience_s
        self._scored = self._count_scores()

    def before(self, session: dt.date, known: Sequence[SessionSeries]) -> Said:
        """Wait until every instrument that can be forecast has both targets' forecasts of the session."""
        wanted = {(instrument, target) for instrument in self._forecastable(session, known) for target in Target}
        deadline = time.monotonic() + self._patience_s
        while missing := wanted - (found := forecast_instruments(self._engine, session)).keys():
            if time.monotonic() > deadline:
                names = ", ".join(sorted({str(instrument) for instrument, _ in missing}))
                raise TryLaterError(
                    f"no forecasts of {session} for {names} within {self._patience_s:g} s: see `streamlake logs scorer`"
                )
            time.sleep(_POLL_S)
        return Said(len(wanted), sum(found[one] for one in wanted))

    def after(self, series: Sequence[SessionSeries]) -> int:
        """Count the scores; they come a moment after the bars."""
        before, self._scored = self._scored, self._count_scores()
        return self._scored - before

    def finish(self) -> int:
        """Wait until nothing is due any more; return how many were scored since ``after``.

        Raises:
            TryLaterError: the database is not available, or nobody scores.
        """
        deadline = time.monotonic() + self._patience_s
        while waiting := ledger.due(self._engine):
            if time.monotonic() > deadline:
                raise TryLaterError(
                    f"{len(waiting)} forecasts were not scored within {self._patience_s:g} s: "
                    "see `streamlake logs scorer`"
                )
            time.sleep(_POLL_S)
        return self.after(())

    def _forecastable(self, session: dt.date, known: Sequence[SessionSeries]) -> list[Instrument]:
        ready = [one for one in known if len(one) >= self._least and next_session(one) == session]
        if not ready:
            return []
        newest = newest_features(ready)
        values = [newest.x, *(newest.scale[target][:, None] for target in Target)]
        defined = np.isfinite(np.column_stack(values))
        return [one.instrument for one, has in zip(ready, defined, strict=True) if has.all()]

    def _count_scores(self) -> int:
        with bar_reader.snapshot(self._engine) as connection:
            return bar_reader.count(connection, schema.forecast_scores)
