"""A provider that is asked again: unchanged is the same version, a correction wins, however often both are fetched."""

from decimal import Decimal

import pytest

from streamlake_assets.commands.fetch import restated
from streamlake_assets.market.messages import Counts
from streamlake_assets.market.types import Bar, Instrument, Interval, Status
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.bars import SESSION, bar, slice_of
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
IBM = Instrument("IBM", "XNYS")


def fetched(price: str, status: Status = Status.SETTLED) -> Bar:
    return bar(SESSION, symbol="IBM", exchange="XNYS", source="massive", price=price, status=status)


class Tables:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._store = BarStore(database.writer, "test")
        self._next = 0

    def take(self, *bars: Bar) -> Counts:
        stated = restated(self._database.writer, IBM, Interval.D1, list(bars))
        counts = self._store.ingest([slice_of(stated, self._next)])
        self._next += len(stated)
        return counts

    @property
    def close(self) -> Decimal:
        (row,) = self._database.rows(schema.bars)
        return Decimal(row.close)


def test_a_correction_wins_whatever_its_digest_and_stays(database: Database) -> None:
    tables = Tables(database)
    assert tables.take(fetched("100")) == Counts(new=1)
    assert tables.take(fetched("100")) == Counts(same=1)
    for price in ("100.05", "99.95", "101"):
        assert tables.take(fetched(price)) == Counts(changed=1)
        assert tables.close == fetched(price).close
        assert tables.take(fetched(price)) == Counts(same=1)
    assert database.count(schema.bar_revisions) == 3


def test_a_settled_bar_replaces_a_provisional_one_by_its_status(database: Database) -> None:
    tables = Tables(database)
    tables.take(fetched("100", Status.PROVISIONAL))
    assert tables.take(fetched("101")) == Counts(changed=1)
    assert tables.close == fetched("101").close


def test_nothing_fetched_is_nothing_stated(database: Database) -> None:
    assert restated(database.writer, IBM, Interval.D1, []) == []
