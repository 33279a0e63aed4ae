"""The scorer's loop: settled daily bars come in, forecasts of the next session and scores of the last go out.

Belongs here: whose forecast is due, when scores are due, what to do in an outage. Stays out: what the messages mean
(``session_states``), scoring and sending (``after_work``, which may go on beside the loop), Kafka and MySQL themselves
(the protocols here), process matters (``scorer``).

What is kept in memory begins as a snapshot of the tables with their offsets, and the topics are read from there on. So
a crash at any moment loses nothing: the next start reads the tables again, and the ledger knows what was said.

A forecast is made from the state after all messages at hand: a session whose own bar is already among them is not
forecast, as that would be too late.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import Final, Protocol

import msgspec
import structlog

from streamlake_assets.errors import TryLaterError, UsageError
from streamlake_assets.learning.serve import ServingModel
from streamlake_assets.market import calendars
from streamlake_assets.market.feature_state import matrix_rows, newest_features
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.forecasts import Forecast, issue_together
from streamlake_assets.market.messages import MessageReader, StreamIdentity
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.types import Instrument
from streamlake_assets.sidecar import after_work
from streamlake_assets.sidecar.after_work import AtOnce, Followed, FollowUp, follow_up
from streamlake_assets.sidecar.session_states import SessionStates, Settled
from streamlake_assets.stores.ledger import Issued, SessionKey
from streamlake_assets.stores.session_seed import Place, Seed, StreamPlace

MOST_MESSAGES: Final = 2_000
WAIT_S: Final = 0.2
"""Longest wait for a message when nothing else is to be done."""
SOON_S: Final = 0.02
"""Wait for a message while a forecast or a score is due: its bar will be in the tables in a moment."""
SLOWEST_S: Final = 1.0
"""Longest time between two looks whether the tables hold a bar."""
RETRY_S: Final = 1.0
LOOK_S: Final = 5.0
"""How often the tables and the ledger are looked at for what others did."""
ASK_S: Final = 0.1
"""How often the tables are asked for an instrument that they do not know yet."""
NOTHING: Final = Issued(0, 0, 0)


class Champions(Protocol):
    """The models that speak; ``serving_champions`` has them."""

    @property
    def models(self) -> list[ServingModel]:
        """At most one for each target."""

    def look(self) -> bool:
        """Ask the register now and then; return whether another model speaks from now on."""


class Book(after_work.Book, Protocol):
    """Tables, ledger and the topic of forecasts, as far as the loop needs them; calls may raise ``TryLaterError``."""

    def seed(self, keep: int) -> Seed:
        """Return where to begin."""

    def instruments(self) -> set[Instrument]:
        """Return the instruments that the tables know."""

    def issue(self, forecasts: Sequence[Forecast]) -> Issued:
        """Commit forecasts to the ledger."""


class Done(msgspec.Struct):
    """What a turn did: sessions that settled or changed, forecasts issued, scores written, messages sent.

    ``since`` are (broker time, event time) of the bars that the forecasts answer, ``committed_at`` is when the ledger
    had them; all in seconds since 1970.
    """

    sessions: int = 0
    issued: Issued = NOTHING
    since: tuple[tuple[float, float], ...] = ()
    committed_at: float = 0.0
    scored: int = 0
    sent: int = 0


class ScoreLoop:
    """Joins a reader, champions and a book. ``turn`` does one round.

    Args:
        reader: of the topics.
        book: tables, ledger and the topic of forecasts.
        champions: the models that speak.
        streams: identity of each topic.
        min_history: sessions that an instrument needs before it is forecast.
        at: called at the points ``issued``, ``scored`` and ``published``, where a fault drill may end the process.
        beside: where scores are written and messages sent; default: within the turn.
        monotonic: the clock.
    """

    def __init__(
        self,
        reader: MessageReader,
        book: Book,
        champions: Champions,
        streams: dict[str, StreamIdentity],
        *,
        min_history: int = LOOKBACK,
        at: Callable[[str], None] = lambda _: None,
        beside: Executor | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._book = book
        self._champions = champions
        self._streams = streams
        self._keep = max(min_history, LOOKBACK)
        self._at = at
        self._beside = beside or AtOnce()
        self._following: Future[Followed] | None = None
        self._monotonic = monotonic
        self._states: SessionStates | None = None
        self._stored: set[Instrument] = set()
        self._pending: dict[Instrument, Settled | None] = {}
        """Instruments whose next session is to be forecast, and the bar that asks for it."""
        self._unlooked: dict[Place, int] = {}
        """Where the topics were begun: until the tables are as far and all that was due by then is scored."""
        self._unscored: dict[SessionKey, tuple[Place, int]] = {}
        """Settled sessions that nothing was scored by yet: place and next offset of their newest bar."""
        self._scoring: tuple[dict[Place, int], dict[SessionKey, tuple[Place, int]]] = ({}, {})
        """What was unlooked and unscored when the work that goes on beside the loop was asked for."""
        self._score_at = 0.0
        self._score_pause = SOON_S
        self._ask_at = 0.0
        self._look_at = 0.0
        self._unsent = True
        self._unsent_scores = True
        self._retry_at: float | None = None
        self.passed_over: dict[Instrument, str] = {}
        """Why an instrument is not forecast."""
        self._log = structlog.get_logger(component="score")

    @property
    def in_outage(self) -> bool:
        """Whether a server was away at the last try."""
        return self._retry_at is not None

    @property
    def instruments(self) -> int:
        """Number of instruments whose sessions are kept."""
        return 0 if self._states is None else len(self._states.by_instrument)

    @property
    def idle(self) -> bool:
        """Whether nothing that was taken waits for a forecast, a score or its message."""
        busy = (self._pending and self._champions.models) or self._to_score or self._unsent or self._following
        return not busy

    @property
    def _to_score(self) -> bool:
        return bool(self._unlooked or self._unscored)

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return where to begin: called by the reader when partitions are assigned.

        Raises:
            TryLaterError: the tables are not available.
        """
        states = self._states or self._begin()
        wanted = set(partitions)
        return {number: offset for number, offset in states.offsets(topic).items() if number in wanted}

    def begins(self) -> dict[Place, int]:
        """Return where every place that the tables have something of is to be read from.

        Raises:
            TryLaterError: the tables are not available.
        """
        return (self._states or self._begin()).begins()

    def forget(self) -> None:
        """Forget the state: partitions were given up, and it begins anew with the next ones."""
        self._states = None
        self._pending.clear()
        self._unlooked.clear()
        self._unscored.clear()

    def turn(self) -> Done:
        """Do one round: take messages, forecast, score, send. An outage is tried again a second later.

        Raises:
            IntegrityError: the stream, the tables or the ledger contradict each other.
        """
        waits = not self.in_outage and (self._to_score or (self._pending and self._champions.models))
        messages = self._reader.take(MOST_MESSAGES, SOON_S if waits else WAIT_S)
        done = Done()
        if self._states is None:
            return done
        for settled in self._states.apply(messages):
            done.sessions += 1
            self._note(settled)
        if self._retry_at is not None and self._monotonic() < self._retry_at:
            return done
        try:
            self._act(done, self._states)
        except TryLaterError as error:
            self._log.warning("put_off", error=str(error))
            if self._retry_at is None:
                # polled on, or the group would take this member for dead
                self._reader.pause()
            self._retry_at = self._monotonic() + RETRY_S
        else:
            if self._retry_at is not None:
                self._retry_at = None
                self._reader.resume()
        return done

    def _begin(self) -> SessionStates:
        self._states = SessionStates(self._streams, self._book.seed(self._keep), self._keep)
        self._stored = set(self._states.by_instrument)
        self._pending = dict.fromkeys(self._states.with_sessions)
        # what settled while nobody watched is due now
        self._unlooked = self._states.begins()
        self._log.info("begun", instruments=len(self._stored))
        return self._states

    def _begin_again(self) -> SessionStates:
        first = {} if self._states is None else self._states.begins()
        states = self._begin()
        self._reader.rewind(first | states.begins())
        return states

    def _note(self, settled: Settled) -> None:
        if not self._to_score:
            self._score_pause = SOON_S
            self._score_at = self._monotonic() + SOON_S
        self._unscored[settled.instrument, settled.session] = (settled.place, settled.next_offset)
        if settled.is_new:
            self._pending[settled.instrument] = settled

    def _act(self, done: Done, states: SessionStates) -> None:
        if self._champions.look():
            wanted = max(model.min_history for model in self._champions.models)
            if wanted > self._keep:
                self._keep = wanted
                states = self._begin_again()
            self._pending = dict.fromkeys(states.with_sessions) | self._pending
        self._issue(done, states)
        self._follow(done, states)
        if self._monotonic() >= self._look_at:
            self._look_at = self._monotonic() + LOOK_S
            # what did not come over the topics: replayed dead letters, and what others said and scored
            if states.others_moved(self._book.places()) or states.is_short:
                self._begin_again()
            self._unsent = self._unsent_scores = True

    def _issue(self, done: Done, states: SessionStates) -> None:
        models = self._champions.models
        if not (self._pending and models):
            return
        # the ledger's rows point to instruments: one that is new is stored by the consumer in a moment
        if not self._pending.keys() <= self._stored and self._monotonic() >= self._ask_at:
            self._stored = self._book.instruments()
            self._ask_at = self._monotonic() + ASK_S
        due = {instrument: since for instrument, since in self._pending.items() if instrument in self._stored}
        made = self._forecasts([states.by_instrument[instrument].series() for instrument in sorted(due)], models)
        if made:
            done.issued = self._book.issue(made)
            done.committed_at = time.time()
            spoken = {(forecast.symbol, forecast.exchange) for forecast in made}
            answered = [since for of, since in due.items() if since and (of.symbol, of.exchange) in spoken]
            done.since = tuple((since.broker_time, since.event_time) for since in answered)
            self._at("issued")
            self._unsent = True
        for instrument in due:
            del self._pending[instrument]

    def _forecasts(self, due: Sequence[SessionSeries], models: Sequence[ServingModel]) -> list[Forecast]:
        ready: list[SessionSeries] = []
        sessions: list[dt.date] = []
        for series in due:
            self.passed_over.pop(series.instrument, None)
            if len(series) < LOOKBACK:
                self.passed_over[series.instrument] = f"{series.instrument}: too few settled sessions"
                continue
            try:
                sessions.append(calendars.next_session(series.exchange, series.asset_class, series.last_session))
                ready.append(series)
            except UsageError as error:
                self.passed_over[series.instrument] = str(error)
        made: list[Forecast] = []
        newest = newest_features(ready) if ready else None
        for model in models:
            rows = [row for row, series in enumerate(ready) if len(series) >= model.min_history]
            if newest is not None and rows:
                of = [ready[row] for row in rows], [sessions[row] for row in rows]
                found, passed_over = issue_together(model, *of, matrix_rows(newest, rows))
                made += found
                if passed_over:
                    self._log.warning("passed_over", version=model.version, why=passed_over)
        return made

    def _follow(self, done: Done, states: SessionStates) -> None:
        """Take what was done beside the loop, and ask for what is due; done within the turn, it is taken at once."""
        self._take(done)
        if self._following is None:
            score = self._to_score and self._monotonic() >= self._score_at
            if score or self._unsent:
                settled = None if self._unlooked else set(self._unscored)
                of = states.by_instrument if settled is None else {instrument for instrument, _ in settled}
                series = [states.by_instrument[instrument].series() for instrument in sorted(of)] if score else None
                work = FollowUp(series, settled, self._unsent, self._unsent_scores)
                self._unsent = self._unsent_scores = False
                self._scoring = (dict(self._unlooked), dict(self._unscored))
                self._following = self._beside.submit(follow_up, self._book, work, self._at)
                self._take(done)

    def _take(self, done: Done) -> None:
        if self._following is None or not self._following.done():
            return
        following, self._following = self._following, None
        try:
            followed = following.result()
        except TryLaterError:
            self._unsent = self._unsent_scores = True
            raise
        done.scored, done.sent = done.scored + followed.scored, done.sent + followed.sent
        if followed.stored is not None:
            unlooked, unscored = self._scoring
            for place, offset in unlooked.items():
                if self._unlooked.get(place) == offset and self._stored_to(followed.stored, place) >= offset:
                    del self._unlooked[place]
            for session, (place, offset) in unscored.items():
                # what came meanwhile was not among the series that were scored, though the tables may have it
                if self._unscored.get(session) == (place, offset) and self._stored_to(followed.stored, place) >= offset:
                    del self._unscored[session]
            self._score_pause = min(2 * self._score_pause, SLOWEST_S)
            self._score_at = self._monotonic() + self._score_pause

    def _stored_to(self, stored: dict[StreamPlace, int], place: Place) -> int:
        stream = self._streams[place[0]]
        return stored.get((stream.cluster_id, stream.topic_id, place[1]), 0)
