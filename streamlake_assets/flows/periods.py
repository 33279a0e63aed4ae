"""Documents of periods: key indicators measured again where sessions changed.

Belongs here: which lines are made again, from what, and whether they still say what is measured. Stays out: the
measures (``market.period_lines``), the documents (``stores.period_documents``). Lines are replaced by period, so doing
it twice changes nothing.
"""

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa

from streamlake_assets.market.measures import PeriodKind, period_of
from streamlake_assets.market.period_lines import Grouping, Market
from streamlake_assets.market.quality import Verdict
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.page_measures import described
from streamlake_assets.stores.period_documents import extents, period_lines, put_lines, put_made_with


def refresh_periods(connection: sa.Connection, documents: DocumentStore, months: Iterable[date]) -> int:
    """Measure the periods again that the sessions of these months move; return how many lines were written.

    The index of all instruments moves with each of them, so every line of such a period is made again.

    Args:
        connection: open, says which sector each instrument is of.
        documents: whose feature buckets are measured; they must be of now.
        months: first days of the months in which session documents were made again.

    Raises:
        TryLaterError: a store is not available.
    """
    market = _market(connection, documents)
    moved = market.moved(months, extents(documents))
    if not moved:
        return 0
    periods = {period_of(month, kind) for month in moved for kind in PeriodKind}
    made = {(grouping, period): market.lines(grouping, period) for period in sorted(periods) for grouping in Grouping}
    written = put_lines(documents, made)
    put_made_with(documents, market.extents(), {kind: market.periods(kind) for kind in PeriodKind})
    return written


def judge_periods(connection: sa.Connection, documents: DocumentStore) -> Verdict:
    """Measure the newest month, quarter and year again and compare; any other period would do, but these move.

    Raises:
        TryLaterError: a store is not available.
    """
    market = _market(connection, documents)
    compared, apart = 0, []
    for kind in PeriodKind:
        for period in market.periods(kind)[:1]:
            for grouping in Grouping:
                measured, stored = market.lines(grouping, period), period_lines(documents, grouping, kind, period.name)
                compared += len(measured)
                apart += [] if measured == stored else [f"{period.name} by {grouping.value}"]
    text = f"{compared} lines compared, {'none' if not apart else ', '.join(apart)} apart"
    return Verdict(not apart, text, {"lines": compared, "apart": apart})


def _market(connection: sa.Connection, documents: DocumentStore) -> Market:
    return Market(documents.series(), {one.instrument: one.sector for one in described(connection)})
