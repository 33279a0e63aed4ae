"""The daily refresh of what the tables hold now: the rule with its facts.

Belongs here: reading how far each market is stored, and asking the rule. Stays out: the rule (``market.refresh_plan``),
runs and ticks (``defs``).
"""

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from streamlake_assets.market.refresh_plan import RefreshPlan, RefreshRun, gather_markets, plan_refresh
from streamlake_assets.settings import Settings
from streamlake_assets.stores import bar_reader


def plan_daily_refresh(
    engine: sa.Engine, settings: Settings, runs: Sequence[RefreshRun], now: dt.datetime, *, early: bool = False
) -> RefreshPlan:
    """Decide whether to ask for a daily refresh now.

    Args:
        engine: of a user that may read the raw tables.
        settings: with the settle delay.
        runs: of the daily job, the newest first.
        now: aware time.
        early: as ``plan_refresh`` has it.

    Raises:
        TryLaterError: the database is not available.
    """
    with bar_reader.snapshot(engine) as connection:
        stored = bar_reader.market_sessions(connection)
    delay = dt.timedelta(minutes=settings.settle_delay_minutes)
    return plan_refresh(now, gather_markets(stored), runs, settle_delay=delay, early=early)
