"""Messages of a drill onto the topics: at full speed or at a rate, in the foreground or beside what the drill does.

Belongs here: the producer of the drill. It sends what no honest producer would (null keys and values, bytes that are no
text), with the settings of the project's own publisher. Stays out: what is sent (``manifest``).
"""

import threading
import time
from collections.abc import Iterable
from itertools import takewhile
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamlake_assets.broker.publisher import PRODUCER_CONFIG
from streamlake_assets.broker.topics import client_config
from streamlake_assets.drill.manifest import Sending
from streamlake_assets.errors import TryLaterError

DELIVERY_TIMEOUT_S = 300
"""Longer than any outage of a drill: a message is late, never given up."""
_PACE_S = 0.02


def send(
    bootstrap: str,
    sendings: Iterable[Sending],
    per_second: float | None = None,
    **config: Any,
) -> None:
    """Send messages and return when the broker has acknowledged all of them.

    Args:
        bootstrap: the cluster.
        sendings: in this order.
        per_second: the rate; None: as fast as it goes.
        config: settings of the producer on top of the project's own, dots written as underscores.

    Raises:
        TryLaterError: a message was not delivered.
    """
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    extra = {name.replace("_", "."): value for name, value in config.items()}
    producer = Producer(
        {**client_config(bootstrap), **PRODUCER_CONFIG, "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000, **extra}
    )
    begun = time.monotonic()
    for number, one in enumerate(sendings):
        while True:
            try:
                producer.produce(one.topic, value=one.value, key=one.key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                raise TryLaterError(f"a message could not be sent: {error.args[0].str()}") from error
        if per_second is not None and (ahead := number / per_second - (time.monotonic() - begun)) > _PACE_S:
            producer.poll(ahead)
            time.sleep(max(0.0, number / per_second - (time.monotonic() - begun)))
        else:
            producer.poll(0)
    left = producer.flush(DELIVERY_TIMEOUT_S)
    if failures or left:
        raise TryLaterError(f"{len(failures) + left} messages were not delivered ({failures[:1]})")


class Background:
    """Sends beside what the drill does; use as a context manager, whose end waits for the last message.

    Args:
        bootstrap: the cluster.
        sendings: in this order; may be endless.
        per_second: the rate; None: as fast as it goes.
        endless: whether the end of the ``with`` is the end of the messages.
    """

    def __init__(
        self, bootstrap: str, sendings: Iterable[Sending], per_second: float | None = None, endless: bool = False
    ) -> None:
        self._bootstrap = bootstrap
        self._sendings = sendings
        self._per_second = per_second
        self._endless = endless
        self._enough = threading.Event()
        self._failure: TryLaterError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._endless:
            self._enough.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            send(self._bootstrap, takewhile(lambda _: not self._enough.is_set(), self._sendings), self._per_second)
        except TryLaterError as error:
            self._failure = error
