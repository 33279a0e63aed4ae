"""From the Kafka client's message to ours: one conversion for the group member and for the page's tail."""

import datetime as dt
from functools import lru_cache

from confluent_kafka import Message as RawMessage

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.messages import Message


def to_message(raw: RawMessage) -> Message:
    """Return a message with its place, its bytes and the broker's time.

    Raises:
        IntegrityError: the client handed it out without a place.
    """
    _, millis = raw.timestamp()
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    if topic is None or partition is None or offset is None:
        raise IntegrityError("the client handed out a message without a place")
    return Message(topic, partition, offset, _bytes(raw.key()), _bytes(raw.value()), _moment(millis))


@lru_cache(maxsize=256)
def _moment(millis: int) -> dt.datetime:
    # the broker stamps whole batches at once: one object for all their messages is cheaper, here and further on
    return dt.datetime.fromtimestamp(millis / 1000, dt.UTC)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
