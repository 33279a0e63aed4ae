"""An open-loop producer in a process of its own: messages at a fixed rate, whether or not anybody keeps up.

``python -m benchmarks.peers.paced RATE WARM_SECONDS SECONDS FOLDER``: bars from the first on, each put on the wire when
it is due with ``event_time`` of that moment (linger 5 ms), so that the time until its row is counted from before the
producer's own queue. The warm part goes before and is flushed: connections are open by then. ``FOLDER/warm.json`` says
how much that was; the rest waits for ``FOLDER/go``. ``FOLDER/sent.json`` says how late messages were sent: a producer
that cannot keep its pace measures itself.
"""

import datetime as dt
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from benchmarks.made_bars import bars
from streamlake_assets.broker.publisher import PRODUCER_CONFIG
from streamlake_assets.broker.topics import client_config
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.contract import BARS_TOPIC, encode_bar
from streamlake_assets.market.sessions import UTC
from streamlake_assets.servers.home import write_atomic
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import load_settings

TICK_S = 0.001
PATIENCE_S = 120.0
_PLACEHOLDER = dt.datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
_WRITTEN = b"2001-02-03T04:05:06.789012Z"

Parts = tuple[bytes, bytes, bytes]
"""Key of a message, and its value before and after ``event_time``."""


def main() -> None:
    """Send the warm part, wait, send the rest."""
    rate, warm_s, seconds, folder = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    warm, rest = int(rate * warm_s), int(rate * seconds)
    made = islice(bars(warm + rest), warm + rest)
    parts: list[Parts] = []
    for bar in made:
        before, after = encode_bar(bar, _PLACEHOLDER).split(_WRITTEN)
        parts.append((bar.symbol.encode(), before, after))
    producer = Producer({**client_config(load_settings().kafka), **PRODUCER_CONFIG})
    write_atomic(folder / "warm.json", json.dumps(send(producer, parts[:warm], rate)))
    if not wait_until((folder / "go").exists, PATIENCE_S):
        raise TryLaterError("nobody said go")
    write_atomic(folder / "sent.json", json.dumps(send(producer, parts[warm:], rate)))


def send(producer: Producer, parts: list[Parts], rate: int) -> dict[str, Any]:
    """Send messages at a rate; return what was sent and how late."""
    count = len(parts)
    late: list[float] = []
    spent = time.process_time()
    started, sent = time.perf_counter(), 0
    while sent < count:
        now = time.perf_counter() - started
        due = min(count, int(now * rate) + 1)
        while sent < due:
            key, before, after = parts[sent]
            late.append(time.perf_counter() - started - sent / rate)
            moment = dt.datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
            producer.produce(BARS_TOPIC, value=before + moment + after, key=key)
            sent += 1
        producer.poll(0)
        time.sleep(TICK_S)
    took, spent = time.perf_counter() - started, time.process_time() - spent
    left = producer.flush(30)
    late.sort()
    return {
        "sent": sent - left,
        "seconds": round(took, 3),
        "cpu_s": round(spent, 3),
        "late_p99_ms": round(late[int(0.99 * (len(late) - 1))] * 1000, 2),
        "late_max_ms": round(late[-1] * 1000, 2),
    }


if __name__ == "__main__":
    main()
