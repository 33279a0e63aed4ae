"""Watching whether topics are still the ones that a consumer began with.

A topic that is deleted and made again under its name has offsets of its own, and a running client does not notice: it
goes on at the old offset of the new topic, or is told that the offset is out of range. Belongs here: asking, in a
thread of its own, because a cluster that is away answers late. Stays out: what is done about it (``sidecar.consumer``).
"""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient

from streamlake_assets.broker.topics import client_config, identities
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.messages import StreamIdentity

EVERY_S = 5.0


class StreamWatch:
    """Asks every few seconds; use as a context manager."""

    def __init__(self, bootstrap: str, streams: Mapping[str, StreamIdentity], every_s: float = EVERY_S) -> None:
        self._bootstrap = bootstrap
        self._admin = AdminClient(client_config(bootstrap))
        self._streams = dict(streams)
        self._every_s = every_s
        self._done = threading.Event()
        self.made_anew = False
        """Whether one of the topics was seen with another identity."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="stream-watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def look(self) -> bool:
        """Ask now; return whether a topic was made anew. A cluster that does not answer says nothing about it."""
        try:
            found = identities(self._admin, list(self._streams), self._bootstrap)
        except TryLaterError:
            return self.made_anew
        self.made_anew = self.made_anew or found != self._streams
        return self.made_anew

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            self.look()
