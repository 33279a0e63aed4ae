"""How long rows wait for the documents under a running stream, with Dagster's own daemon and the sensor's own interval.

Real broker, MySQL, document store and consumer, and the daemon as ``streamlake up`` starts it, with its code server and
a process for each run; the schedules of the daily job are switched off, so that no training begins. An update a second
arrives on 12,000 daily bars of history; no model is there, so a refresh makes documents only. Timed for five minutes
from the daemon's first refresh on, and to the end of the one after them: a batch waits from its record, a moment before
its commit, to the refresh that took it in, as the page measures it (``panel_app.readers.Refreshes``; the refresh is
dated at its beginning), and to the moment when its end was seen in the store, looked at every half second. Checked:
each batch of that time was counted once.

The daemon keeps a record of every tick of every sensor and schedule: their times stand beside.
"""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from benchmarks.checks import require
from benchmarks.page_chain import HISTORY, SYMBOLS, PageChain, Stream, page_chain
from benchmarks.samples import spread
from panel_app.readers import Refreshes, TimesBetween
from streamlake_assets.commands.services import dagster_daemon, dagster_home
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.servers.waiting import Say
from streamlake_assets.stores import bar_reader, schema
from streamlake_assets.stores import page_quality as quality
from streamlake_assets.stores import page_queries as ask
from streamlake_assets.stores.documents import DocumentStore

NAME = "age"
SECONDS = 300
RATE = 1
LOOK_S = 0.5
PATIENCE_S = 240.0
"""Longest wait for a refresh: before the first one the daemon's code server starts."""


def run(_profile: str, say: Say) -> dict[str, Any]:
    """Start chain and daemon and look for five minutes; the same in every profile.

    Raises:
        WrongRunError: a batch was not counted, or counted twice.
    """
    with page_chain(say) as chain:
        stream = Stream(chain.settings.kafka, chain.market, RATE)
        stream.start()
        chain.stack.supervisor.start(dagster_daemon(chain.settings.model_copy(update={"scheduled_refresh": False})))
        documents = DocumentStore(chain.settings)
        try:
            watch = _Watch(chain)
            # the first state is that of the chain's own refresh
            _look(documents, watch, lambda: watch.refreshes >= 2, PATIENCE_S)
            watch.begin()
            ends = time.monotonic() + SECONDS
            _look(documents, watch, lambda: time.monotonic() > ends, SECONDS + PATIENCE_S)
            # one more: rows that wait for long must not go uncounted because nobody waited for their refresh
            until = watch.refreshes + 1
            _look(documents, watch, lambda: watch.refreshes >= until, PATIENCE_S)
        finally:
            documents.close()
        stream.end()
        chain.stored.wait(stream.places)
        found = watch.result()
        chain.stack.supervisor.stop("dagster-daemon")
        ticks = _ticks(chain)
    say(f"{NAME}: {found}; ticks {ticks}")
    return {
        "case": NAME,
        "servers": chain.stack.servers,
        "history": HISTORY * len(SYMBOLS),
        "rate": RATE,
        "seconds": SECONDS,
        **found,
        "ticks": ticks,
    }


class _Watch:
    """Counts the batches that refreshes took in."""

    def __init__(self, chain: PageChain) -> None:
        self._chain = chain
        self._dated, self._seen = Refreshes(100_000), Refreshes(100_000)
        self._from: Mapping[str, int] = {}
        self._last: dict[str, Any] = {}
        self.refreshes = 0

    def note(self, state: dict[str, Any] | None) -> None:
        """Take the documents' state as it is now."""
        if state is None or (self._last and state["refreshed_at"] == self._last["refreshed_at"]):
            return
        seen_at = dt.datetime.now(dt.UTC)
        with bar_reader.snapshot(self._chain.stack.engine) as connection:

            def times(topic: str, after: Mapping[int, int], until: Mapping[int, int]) -> Sequence[dt.datetime]:
                return quality.batch_times(connection, ask.stream_id(connection, topic, None), after, until)

            self._note(state, seen_at, times)

    def _note(self, state: dict[str, Any], seen_at: dt.datetime, times: TimesBetween) -> None:
        self.refreshes += 1
        self._last = state
        self._dated.note(state, times)
        self._seen.note({**state, "refreshed_at": seen_at}, times)

    def begin(self) -> None:
        """Forget what was counted: timing begins at the state that was seen last."""
        last = self._last
        self._dated, self._seen, self.refreshes = Refreshes(100_000), Refreshes(100_000), 0
        self._from = dict(last["next_offsets"])
        for one in (self._dated, self._seen):
            one.note(last, lambda _topic, _after, _until: [])

    def result(self) -> dict[str, Any]:
        """Return the spreads, once every batch was found to be counted."""
        dated, seen, batches = self._dated.latencies(), self._seen.latencies(), self._batches()
        require(f"{NAME}, batches counted", (dated.count, seen.count), (batches, batches))
        if not batches:
            raise StreamlakeError("no refresh was seen in the time that was measured")
        return {
            "refreshes": self.refreshes,
            "to_refresh_s": msgspec.structs.asdict(dated),
            "to_documents_s": msgspec.structs.asdict(seen),
        }

    def _batches(self) -> int:
        """Count the batches between the first and the last state, straight from the table."""
        b, s = schema.ingest_batches.c, schema.streams.c
        places = [(place.rpartition(":"), int(end)) for place, end in self._last["next_offsets"].items()]
        between = [
            sa.and_(
                s.topic == topic,
                b.partition_no == int(number),
                b.first_offset >= self._from.get(f"{topic}:{number}", 0),
                b.next_offset <= end,
            )
            for (topic, _, number), end in places
        ]
        query = (
            sa.select(sa.func.count())
            .join_from(schema.ingest_batches, schema.streams, s.id == b.stream_id)
            .where(sa.or_(sa.false(), *between))
        )
        with self._chain.stack.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())


def _look(documents: DocumentStore, watch: _Watch, done: Any, patience_s: float) -> None:
    limit = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > limit:
            raise StreamlakeError(f"{watch.refreshes} refreshes in {patience_s:.0f} s: see the daemon's log")
        watch.note(documents.state())
        time.sleep(LOOK_S)


def _ticks(chain: PageChain) -> dict[str, dict[str, float]]:
    """Return the seconds of every tick that the daemon recorded, by sensor or schedule."""
    import dagster as dg

    found: dict[str, list[float]] = {}
    with dg.DagsterInstance.from_config(str(dagster_home(chain.settings))) as instance:
        for state in instance.all_instigator_state():
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id):
                if tick.end_timestamp is not None:
                    found.setdefault(state.instigator_name, []).append(tick.end_timestamp - tick.timestamp)
    return {name: spread(values).rounded(2) for name, values in sorted(found.items())}
