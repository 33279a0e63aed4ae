"""Facts put into the raw tables of a test, and what is there then."""

import datetime as dt
from collections import Counter
from typing import Any

from streamlake_assets.market.messages import Counts
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import Bar, CorporateAction
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.bars import (
    SESSION,
    bar,
    slice_of,
)
from streamlake_assets_tests.tables import Database

AS_OF = daily_bar_time(SESSION, "XNYS")
SECOND = dt.timedelta(seconds=1)


def put(store: BarStore, *facts: Bar | CorporateAction, first: int = 0, **where: Any) -> Counts:
    return store.ingest([slice_of(facts, first, **where)])


def current(database: Database) -> list[tuple[Any, ...]]:
    return [(row.close, row.status) for row in database.rows(schema.bars)]


def days(number: int, **changes: Any) -> list[Bar]:
    return [bar(SESSION + dt.timedelta(days=n), **changes) for n in range(number)]


def assert_batches_count_their_rows(database: Database) -> None:
    facts = (schema.bars, schema.bar_revisions, schema.corporate_actions, schema.corporate_action_revisions)
    rows = Counter(row.batch_id for table in facts for row in database.rows(table))
    batches = database.rows(schema.ingest_batches)
    assert {batch.id: batch.versions for batch in batches if batch.versions} == dict(rows)
    dead = Counter(row.batch_id for row in database.rows(schema.dead_letters))
    assert {batch.id: batch.dead for batch in batches if batch.dead} == dict(dead)
