"""An open-loop producer in a process of its own: messages at a fixed rate, whether or not anybody keeps up.

``python -m benchmarks.peers.paced RATE SECONDS SKIP REPORT``: bars from number SKIP on, each put on the wire when it
is due with ``event_time`` of that moment (linger 5 ms), so that the time until its row is counted from before the
producer's own queue. The report says how late messages were sent: a producer that cannot keep its pace measures
itself.
"""

import datetime as dt
import json
import sys
import time
from itertools import islice
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.made_bars import bars
from streamlake_assets.broker.publisher import PRODUCER_CONFIG
from streamlake_assets.broker.topics import client_config
from streamlake_assets.market.contract import BARS_TOPIC, encode_bar
from streamlake_assets.market.sessions import UTC
from streamlake_assets.servers.home import write_atomic
from streamlake_assets.settings import load_settings

TICK_S = 0.001
_PLACEHOLDER = dt.datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
_WRITTEN = b"2001-02-03T04:05:06.789012Z"


def main() -> None:
    """Send the messages."""
    rate, seconds, skip = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    count = int(rate * seconds)
    made = islice(bars(skip + count), skip, None)
    parts = [(bar.symbol.encode(), *encode_bar(bar, _PLACEHOLDER).split(_WRITTEN)) for bar in made]
    producer = Producer({**client_config(load_settings().kafka), **PRODUCER_CONFIG})
    producer.list_topics(BARS_TOPIC, timeout=10)
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
    took = time.perf_counter() - started
    spent = time.process_time() - spent
    left = producer.flush(30)
    late.sort()
    report = {
        "sent": sent - left,
        "seconds": round(took, 3),
        "cpu_s": round(spent, 3),
        "late_p99_ms": round(late[int(0.99 * (len(late) - 1))] * 1000, 2),
        "late_max_ms": round(late[-1] * 1000, 2),
    }
    write_atomic(Path(sys.argv[4]), json.dumps(report))


if __name__ == "__main__":
    main()
