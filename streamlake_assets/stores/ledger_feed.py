"""The ledger as messages: its rows from a place on, in the form of the topic ``forecasts``.

Belongs here: SELECTs that follow the ledger. Stays out: writing it (``ledger``), what was sent already (``sidecar``).
"""

import datetime as dt
from collections.abc import Collection
from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.forecast_messages import ForecastMessage, ScoreMessage
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores import schema
from streamlake_assets.stores.ledger import forecast_query
from streamlake_assets.stores.mysql import outages_as_try_later


class LedgerEntry(NamedTuple):
    """A row of the ledger and, once there is one, its score."""

    forecast: ForecastMessage
    score: ScoreMessage | None


def entries(engine: sa.Engine, after_id: int, most: int) -> list[LedgerEntry]:
    """Return the rows of the ledger past an id, in the order of their ids.

    Args:
        engine: of a user that may read the ledger.
        after_id: rows up to this one are left out.
        most: bound of the rows.

    Raises:
        TryLaterError: the database is not available.
    """
    query = _query().where(schema.forecasts.c.id > after_id).limit(most)
    with outages_as_try_later("following the ledger"), engine.connect() as connection:
        return [LedgerEntry(_forecast(row), _score(row)) for row in connection.execute(query)]


def scores(engine: sa.Engine, ids: Collection[int]) -> list[ScoreMessage]:
    """Return the scores of those rows that have one.

    Raises:
        TryLaterError: the database is not available.
    """
    if not ids:
        return []
    scored = schema.forecast_scores.c.forecast_id
    query = _query().where(scored.in_(sorted(ids)))
    with outages_as_try_later("following the ledger"), engine.connect() as connection:
        return [score for row in connection.execute(query) if (score := _score(row)) is not None]


def forecast_instruments(engine: sa.Engine, session: dt.date) -> dict[tuple[Instrument, Target], bool]:
    """Return of which instruments and targets a session has a forecast, and whether all of them are late.

    Raises:
        TryLaterError: the database is not available.
    """
    f, i, e = schema.forecasts, schema.instruments, schema.exchanges
    query = (
        sa.select(i.c.symbol, e.c.mic, f.c.target, sa.func.min(f.c.late).label("late"))
        .join(i, i.c.id == f.c.instrument_id)
        .join(e, e.c.id == i.c.exchange_id)
        .where(f.c.target_session == session)
        .group_by(i.c.symbol, e.c.mic, f.c.target)
    )
    with outages_as_try_later("reading the ledger"), engine.connect() as connection:
        return {
            (Instrument(row.symbol, row.mic), Target(row.target)): bool(row.late) for row in connection.execute(query)
        }


def _query() -> sa.Select[Any]:
    f, s = schema.forecasts, schema.forecast_scores
    scores = (s.c.realised, s.c.error, s.c.baseline_error, s.c.covered, s.c.direction_hit, s.c.scored_at)
    return forecast_query(*scores).outerjoin(s, s.c.forecast_id == f.c.id).order_by(f.c.id)


def _forecast(row: sa.Row[Any]) -> ForecastMessage:
    return ForecastMessage(
        id=row.id,
        symbol=row.symbol,
        exchange=row.mic,
        target=Target(row.target),
        session=row.target_session,
        after_session=row.known_session,
        model_version=row.model_version,
        engine=row.engine,
        has_skill=bool(row.has_skill),
        point=row.point,
        low=row.low,
        high=row.high,
        coverage=row.coverage,
        baseline=row.baseline,
        scale=row.scale,
        late=bool(row.late),
        issued_at=row.issued_at.replace(tzinfo=UTC),
    )


def _score(row: sa.Row[Any]) -> ScoreMessage | None:
    if row.realised is None:
        return None
    return ScoreMessage(
        id=row.id,
        symbol=row.symbol,
        exchange=row.mic,
        target=Target(row.target),
        session=row.target_session,
        model_version=row.model_version,
        realised=row.realised,
        error=row.error,
        baseline_error=row.baseline_error,
        covered=bool(row.covered),
        direction_hit=None if row.direction_hit is None else bool(row.direction_hit),
        scored_at=row.scored_at.replace(tzinfo=UTC),
    )
