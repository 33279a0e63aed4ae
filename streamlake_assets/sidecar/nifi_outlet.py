"""A session through NiFi: its bars as a file in the watched folder, its corporate actions by this process.

Belongs here: dropping the file, and knowing when the tables hold all of it. Stays out: the flow itself (``nifi/``),
when a session may be revealed (``replay``).
"""

import time
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.types import Bar
from streamlake_assets.sidecar.replay import StoredPlaces, publish
from streamlake_assets.sources.bar_lines import write_bar_lines
from streamlake_assets.sources.replay_plan import SessionStep
from streamlake_assets.stores import bar_reader

_POLL_S: Final = 0.05


class NifiOutlet:
    """``Outlet`` that drops one file for each session.

    Args:
        engine: of the reading user.
        publisher: for corporate actions, which the flow does not carry.
        stored: places of the tables in the streams.
        inbox: the watched folder.
        patience_s: longest time in which nothing is stored.
    """

    def __init__(
        self, engine: sa.Engine, publisher: Publisher, stored: StoredPlaces, inbox: Path, patience_s: float = 60.0
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._stored = stored
        self._inbox = inbox
        self._patience_s = patience_s

    def reveal(self, step: SessionStep) -> int:
        """Send the actions, drop the bars, wait until NiFi has taken the file and all bars are stored.

        Raises:
            TryLaterError: NiFi does not carry the file, or the consumer stores nothing.
        """
        records = list(step.records())
        sent = publish(self._publisher, step.actions)
        self._stored.wait(self._publisher.places)
        before = self._stored.total(BARS_TOPIC)
        # NiFi takes files of this ending away when it has read them; the moment in the name makes it a new file
        path = self._inbox / f"{step.session}.{time.time_ns()}.flow.csv"
        dropped = write_bar_lines(path, (record for record in records if isinstance(record, Bar)))
        self._wait(step, before + dropped, path)
        return sent + dropped

    def _wait(self, step: SessionStep, wanted: int, path: Path) -> None:
        deadline = time.monotonic() + self._patience_s
        seen = 0
        while True:
            total = self._stored.total(BARS_TOPIC)
            # NiFi delivers at least once, and may still send what an earlier replay left: then the number alone comes
            # too early
            if total >= wanted and not path.exists() and self._has_settled(step):
                return
            if total > seen:
                seen, deadline = total, time.monotonic() + self._patience_s
            elif time.monotonic() > deadline:
                missing = f"{max(0, wanted - total) or 'some'} of its bars"
                raise TryLaterError(
                    f"session {step.session}: {missing} did not arrive within {self._patience_s:g} s: "
                    "see `streamlake nifi status` and `streamlake logs consumer`"
                )
            time.sleep(_POLL_S)

    def _has_settled(self, step: SessionStep) -> bool:
        with bar_reader.snapshot(self._engine) as connection:
            ids = {one.instrument: one.id for one in bar_reader.instruments(connection).values()}
            return all(
                bar.instrument in ids
                and bar_reader.daily_bars(connection, ids[bar.instrument], step.session, step.session)
                for bar in step.daily
            )
