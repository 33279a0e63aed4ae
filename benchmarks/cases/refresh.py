"""Documents after one changed session against documents made again in full; both must be equal to the byte.

Timed: ``refresh_documents`` as a whole, reading and writing. Not timed: storing the bars. Checked: the raw documents.
"""

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from pymongo import MongoClient

from benchmarks.stack import Stack, fresh_stack
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.settings import DATABASE
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.stores.documents import BUCKETS, SESSIONS, DocumentStore

NAME = "refresh"


def run(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run one warm-up and ``rounds`` rounds on one stack: change a session, refresh; then make everything again."""
    bars = bokeh_sample.load().bars
    results = []
    with fresh_stack(say) as stack:
        stored = StoredPlaces(stack.engine, stack.settings.kafka)
        documents = DocumentStore(stack.settings)
        _store(stack, stored, bars)
        refresh_documents(stack.engine, documents, now())
        for number in range(rounds + 1):
            _store(stack, stored, [_corrected(bars[-1], number)])
            changed = _timed(lambda: refresh_documents(stack.engine, documents, now()))
            after_change = _raw(stack)
            full = _timed(lambda: refresh_documents(stack.engine, documents, now(), full=True))
            if _raw(stack) != after_change:
                raise SystemExit(f"{NAME}: a refresh and a full recompute differ: the round does not count")
            result = {"changed_s": changed, "full_s": full, "ratio": round(changed / full, 4)}
            say(f"{NAME} round {number}{' (warm-up)' if number == 0 else ''}: {result}")
            if number:
                results.append(result)
        documents.close()
    return {"case": NAME, "sessions": len(bars), "servers": stack.servers, "rounds": results}


def _store(stack: Stack, stored: StoredPlaces, bars: list[Any]) -> None:
    with Publisher(stack.settings.kafka) as publisher:
        publish(publisher, bars)
    stored.wait(publisher.places)


def _corrected(bar: Any, number: int) -> Any:
    later = bar.as_of + dt.timedelta(days=1 + number)
    return msgspec.structs.replace(bar, volume=(bar.volume or Decimal(0)) + 1 + number, as_of=later)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 4)


def _raw(stack: Stack) -> list[bytes]:
    client: MongoClient[dict[str, Any]] = MongoClient(stack.settings.mongo)
    with client:
        database = client[DATABASE]
        return [
            raw
            for name in (SESSIONS, BUCKETS)
            for raw in sorted(repr(document).encode() for document in database[name].find())
        ]
