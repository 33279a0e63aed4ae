"""Tables and documents of a test: facts go in at the next offset, documents come out as bytes."""

import datetime as dt
import random
from typing import Any

import bson
from msgspec.structs import replace

from streamlake_assets.flows.documents import Refreshed, refresh_documents
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.types import Bar, CorporateAction, Status
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.documents import BUCKETS, PERIODS, SESSIONS, DocumentStore
from streamlake_assets_tests.bars import ACTIONS_STREAM, BARS_STREAM, NOW, SESSION, action, bar, minutes, slice_of
from streamlake_assets_tests.tables import Database


class House:
    """Tables and documents: facts go in at the next offset, documents come out as bytes."""

    def __init__(self, database: Database, documents: DocumentStore, raw: Any) -> None:
        self.database = database
        self.documents = documents
        self.raw = raw
        self.store = BarStore(database.writer, "test")

    def put(self, *facts: Bar | CorporateAction, stream: StreamIdentity = BARS_STREAM) -> None:
        first = self.store.next_offsets(stream).get(0, 0)
        self.store.ingest([slice_of(facts, first, stream=stream)])

    def refresh(self, documents: DocumentStore | None = None, full: bool = False) -> Refreshed:
        return refresh_documents(self.database.writer, documents or self.documents, NOW, full)

    def contents(self) -> dict[str, list[bytes]]:
        return {
            name: [bson.encode(record) for record in self.raw[name].find().sort("_id", 1)]
            for name in (SESSIONS, BUCKETS, PERIODS)
        }

    def from_nothing(self) -> dict[str, list[bytes]]:
        self.documents.clear()
        self.refresh()
        return self.contents()

    def keys(self) -> dict[str, bool]:
        return {document.key.rpartition("|")[2]: document.complete for document in self.documents.sessions()}


def day(number: int, **changes: Any) -> Bar:
    return bar(SESSION + dt.timedelta(days=number), **changes)


def random_facts(order: random.Random) -> list[Bar | CorporateAction]:
    facts: list[Bar | CorporateAction] = []
    for symbol in ("AAPL", "MSFT"):
        for _ in range(25):
            session = dt.date(2012, 11, 1) + dt.timedelta(days=order.randint(0, 200))
            made = bar(
                session,
                symbol=symbol,
                price=str(order.randint(5, 20)),
                as_of=NOW + dt.timedelta(seconds=order.randint(0, 9)),
            )
            facts.append(
                replace(made, status=order.choice(list(Status)), source=order.choice(["a", "bokeh_sampledata"]))
            )
            facts += minutes(order.randint(0, 4), session, symbol=symbol, synthetic=order.random() < 0.5)
        facts += [action(symbol=symbol, ex_date=dt.date(2012, 11, 1) + dt.timedelta(days=n)) for n in range(0, 200, 9)]
    order.shuffle(facts)
    return facts


def put_some(house: House, facts: list[Bar | CorporateAction]) -> None:
    for stream, kind in ((BARS_STREAM, Bar), (ACTIONS_STREAM, CorporateAction)):
        own = [fact for fact in facts if isinstance(fact, kind)]
        if own:
            house.put(*own, stream=stream)
