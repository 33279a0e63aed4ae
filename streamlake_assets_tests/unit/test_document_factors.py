"""Corporate actions reach the session that shows them."""

import datetime as dt
from decimal import Decimal

from streamlake_assets.flows.documents import _carried
from streamlake_assets.market.session_documents import SessionDocument, session_document
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets_tests.unit.test_session_documents import one


def day(number: int) -> dt.date:
    return dt.date(2013, 1, number)


def document(session: dt.date) -> SessionDocument:
    return session_document(Instrument("AAPL", "XNAS"), session, Interval.D1, [one(0, "10")], True)


def test_an_action_on_a_day_without_a_bar_belongs_to_the_next_session() -> None:
    found = [document(day(2)), document(day(4)), document(day(7))]
    factors = {day(2): Decimal("0.9"), day(3): Decimal("0.5"), day(4): Decimal("0.99"), day(9): Decimal("0.5")}
    carried = _carried(factors, found, dt.date(2012, 12, 31))
    assert carried == {day(2): Decimal("0.9"), day(4): Decimal("0.5") * Decimal("0.99")}


def test_an_action_that_an_earlier_session_has_shown_is_not_taken_twice() -> None:
    factors = {dt.date(2012, 12, 28): Decimal("0.5"), dt.date(2012, 12, 31): Decimal("0.9")}
    assert _carried(factors, [document(day(2))], dt.date(2012, 12, 28)) == {day(2): Decimal("0.9")}
