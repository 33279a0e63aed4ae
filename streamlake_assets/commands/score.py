"""``streamlake score`` without its command line: the scorer once, up to where the topics end now.

Belongs here: catching up without a group, and what it did. Stays out: options (``score_app``), the process that stays
(``sidecar.scorer``).
"""

import time
from typing import Any, Final

from streamlake_assets.broker.range_reader import RangeReader
from streamlake_assets.broker.topics import (
    FORECASTS_KEPT,
    FORECASTS_TOPIC,
    describe_streams,
    ensure_topics,
    watermarks,
)
from streamlake_assets.commands.data import require_servers
from streamlake_assets.errors import TryLaterError
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import Settings
from streamlake_assets.sidecar.score_loop import Done, ScoreLoop
from streamlake_assets.sidecar.scorer import TOPICS, add, summary
from streamlake_assets.sidecar.scorer_book import ScorerBook
from streamlake_assets.stores.session_seed import Place

PATIENCE_S: Final = 30.0


def score_once(settings: Settings, say: Say, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """Forecast the next session of every instrument, score what is due, send it, and return what was done.

    Args:
        settings: where the servers are.
        say: takes progress.
        patience_s: longest time without any progress.

    Raises:
        SettingError: a configured server does not answer.
        TryLaterError: a local one is not up, or bars on the topics are not stored: is the consumer running?
    """
    require_servers(settings, "kafka", "mysql")
    streams = describe_streams(settings.kafka, TOPICS)
    ensure_topics(settings.kafka, (FORECASTS_TOPIC,), retention=FORECASTS_KEPT)
    ends = {(topic, number): mark for topic in TOPICS for number, mark in watermarks(settings.kafka, topic).items()}
    with ScorerBook(settings) as book:
        stored = book.places()
        ranges: dict[Place, tuple[int, int]] = {}
        for (topic, number), (low, high) in ends.items():
            stream = streams[topic]
            ranges[topic, number] = stored.get((stream.cluster_id, stream.topic_id, number), low), high
        say(f"{sum(max(0, end - first) for first, end in ranges.values()):,} messages past the tables, then forecasts")
        reader = RangeReader(settings.kafka, ranges)
        champions = book.champions()
        loop = ScoreLoop(reader, book, champions, streams, min_history=settings.min_history)
        # the tables may have gone on since: what comes again changes nothing
        loop.begins()
        total = Done()
        deadline = time.monotonic() + patience_s
        try:
            while not (reader.done and loop.idle):
                done = loop.turn()
                add(total, done)
                if done != Done():
                    deadline = time.monotonic() + patience_s
                elif time.monotonic() > deadline:
                    raise TryLaterError(
                        f"nothing moved for {patience_s:g} s: is the consumer running, and does Kafka answer?"
                    )
        finally:
            reader.close()
        return summary(total, loop, champions)
