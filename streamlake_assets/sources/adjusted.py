"""Corporate actions of a table that has adjusted closes.

Belongs here: grouping rows by instrument and session. Stays out: the derivation itself (``market.corporate``).
"""

from collections.abc import Iterable

from streamlake_assets.market.corporate import derive_actions
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import CorporateAction, Instrument, Interval
from streamlake_assets.sources.tables import TableRow


def actions_of(rows: Iterable[TableRow], *, source: str) -> list[CorporateAction]:
    """Derive the corporate actions of daily rows.

    Rows that are not daily, or whose close or adjusted close is absent or not above zero (a price adjusted so far back
    that it rounds to 0.00), tell nothing about actions and are left out.

    Args:
        rows: rows of any number of instruments in any order, no key twice.
        source: name of the data set.

    Returns:
        Actions by (ex-date, symbol); ``event_time`` is a placeholder equal to ``as_of``.
    """
    by_instrument: dict[Instrument, list[TableRow]] = {}
    for row in rows:
        usable = row.bar.close > 0 and row.adjusted_close is not None and row.adjusted_close > 0
        if usable and row.bar.interval is Interval.D1:
            by_instrument.setdefault(row.bar.instrument, []).append(row)
    actions = []
    for instrument, group in by_instrument.items():
        group.sort(key=lambda row: row.bar.bar_time)
        actions += derive_actions(
            [session_date(row.bar.bar_time, instrument.exchange) for row in group],
            [row.bar.close for row in group],
            [row.adjusted_close for row in group if row.adjusted_close is not None],
            instrument=instrument,
            source=source,
        )
    return sorted(actions, key=lambda action: (action.ex_date, action.symbol, action.exchange))
