"""Training data out of the document store: yearly buckets of arrays against a cursor over session documents.

Timed: from the call until every instrument's arrays of open, high, low, close and volume are there. The cursor asks for
these fields only and makes one array of each, as a script would that has no buckets. Checked: equal arrays.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pymongo import MongoClient

from benchmarks.stack import Stack, fresh_stack
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.settings import DATABASE
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.stores.documents import SESSIONS, DocumentStore

NAME = "load"
FIELDS = ("open", "high", "low", "close", "volume")
Arrays = dict[str, dict[str, Any]]


def run(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run one warm-up and ``rounds`` rounds on one stack, the two ways in turn."""
    bars = bokeh_sample.load().bars
    results = []
    with fresh_stack(say) as stack:
        stored = StoredPlaces(stack.engine, stack.settings.kafka)
        with Publisher(stack.settings.kafka) as publisher:
            publish(publisher, bars)
        stored.wait(publisher.places)
        documents = DocumentStore(stack.settings)
        refresh_documents(stack.engine, documents, now())
        for number in range(rounds + 1):
            buckets_s, from_buckets = _timed(lambda: _by_symbol(documents))
            cursor_s, from_cursor = _timed(lambda: _by_cursor(stack))
            if not _equal(from_buckets, from_cursor):
                raise SystemExit(f"{NAME}: buckets and session documents differ: the round does not count")
            result = {"buckets_s": buckets_s, "cursor_s": cursor_s, "ratio": round(cursor_s / buckets_s, 2)}
            say(f"{NAME} round {number}{' (warm-up)' if number == 0 else ''}: {result}")
            if number:
                results.append(result)
        documents.close()
    return {"case": NAME, "sessions": len(bars), "servers": stack.servers, "rounds": results}


def _by_symbol(documents: DocumentStore) -> Arrays:
    return {one.symbol: {name: getattr(one, name) for name in FIELDS} for one in documents.series()}


def _by_cursor(stack: Stack) -> Arrays:
    lists: dict[str, dict[str, list[float]]] = {}
    with MongoClient[dict[str, Any]](stack.settings.mongo) as client:
        query = client[DATABASE][SESSIONS].find({}, {"symbol": 1, **dict.fromkeys(FIELDS, 1)}).sort("_id", 1)
        for record in query:
            columns = lists.setdefault(record["symbol"], {name: [] for name in FIELDS})
            for name in FIELDS:
                columns[name].append(float(record[name].to_decimal()))
    return {symbol: {name: np.array(values) for name, values in found.items()} for symbol, found in lists.items()}


def _timed(work: Callable[[], Arrays]) -> tuple[float, Arrays]:
    start = time.perf_counter()
    found = work()
    return round(time.perf_counter() - start, 4), found


def _equal(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[symbol][name], other[symbol][name]) for symbol in one for name in FIELDS
    )
