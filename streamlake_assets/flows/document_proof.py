"""Proof that the cache is its source: the newest documents are made of their bars again and compared by digest.

Belongs here: which sessions are compared, and reading both sides of one moment. Stays out: how a document is made
(``flows.documents``), how it lies in the store (``stores.documents``), what is judged of the digests
(``market.quality``).
"""

import datetime as dt
from collections import Counter
from collections.abc import Container, Mapping

import sqlalchemy as sa

from streamlake_assets.flows.documents import documents_of, intervals_by_id, one_at_a_time, with_the_open_session
from streamlake_assets.market.quality import Verdict, documents_equal_bars
from streamlake_assets.market.session_documents import month_of_key, session_key
from streamlake_assets.stores import bar_reader
from streamlake_assets.stores.documents import DocumentStore, session_digest

MOST_BARS = 100_000
"""Bars that the compared documents are made of, in whole months from the newest back. A proof follows every refresh:
the whole history of daily bars, but not years of minutes. The months do not rotate: what was found stays found while
its month is one of them."""


def judge_documents(engine: sa.Engine, documents: DocumentStore, most_bars: int = MOST_BARS) -> Verdict:
    """Make the documents of the newest months again, without storing them, and compare them with those stored.

    Months that bars have touched since the last refresh are left out: their documents are made again by the next one.
    A missing document whose session has a daily bar is left to ``quality.documents_cover``, which reads all sessions.

    Args:
        engine: of a user that may read the raw tables.
        documents: the store that is judged.
        most_bars: bars that the compared documents are made of, at most; the newest month is read whole in any case.

    Raises:
        TryLaterError: a store is not available, or a refresh held the documents too long.
    """
    with one_at_a_time(engine), bar_reader.snapshot(engine) as connection:
        known, intervals = bar_reader.instruments(connection), intervals_by_id(connection)
        touches = bar_reader.touches_since(connection, documents.touch_cursor())
        moving = {
            (str(known[touch.instrument_id].instrument), touch.month)
            for touch in with_the_open_session(connection, touches)
        }
        last = {of: bar_reader.last_settled_session(connection, of.id) for of in known.values()}
        sizes = documents.session_sizes()
        newest = max((*filter(None, last.values()), *(month_of_key(key)[1] for key in sizes)), default=None)
        if newest is None:
            return Verdict(True, "no bar is settled, and there is no document", {"compared": 0})
        first = first_session(sizes, newest, most_bars)
        stored = documents.session_digests(first)
        source: dict[str, str] = {}
        for of, until in last.items():
            if until is not None and until >= first:
                made = {one.key: session_digest(one) for one in documents_of(connection, of, first, until, intervals)}
                if not made.keys() <= stored.keys():
                    for session in bar_reader.daily_bars(connection, of.id, first, until):
                        key = session_key(of.instrument, session)
                        if key not in stored:
                            made.pop(key, None)
                source |= made
    judged = (_at_rest(source, moving), _at_rest(stored, moving))
    left_out = len((source.keys() | stored.keys()) - judged[0].keys() - judged[1].keys())
    return documents_equal_bars(*judged, first, left_out)


def first_session(sizes: Mapping[str, int], newest: dt.date, most_bars: int) -> dt.date:
    """Return the first day of the oldest of the newest months that together hold at most so many bars.

    Args:
        sizes: bars by document key.
        newest: a session of the newest month, which is read whatever it holds.
        most_bars: see ``judge_documents``.
    """
    months: Counter[dt.date] = Counter()
    for key, bars in sizes.items():
        months[month_of_key(key)[1]] += bars
    first = newest.replace(day=1)
    read = months.pop(first, 0)
    for month in sorted(months, reverse=True):
        read += months[month]
        if read > most_bars:
            break
        first = month
    return first


def _at_rest(digests: Mapping[str, str], moving: Container[tuple[str, dt.date]]) -> dict[str, str]:
    return {key: digest for key, digest in digests.items() if month_of_key(key) not in moving}
