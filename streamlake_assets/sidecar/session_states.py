"""Messages to feature states: the newest sessions of every instrument, begun from the tables and kept up by the topics.

Belongs here: which messages matter, decoding them, where each topic is read from. Stays out: which version of a session
is in force (``market.feature_state``), what is done with a settled session (``score_loop``).
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import ACTIONS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.feature_state import InstrumentState, action_of, session_version
from streamlake_assets.market.messages import Message, StreamIdentity
from streamlake_assets.market.types import AssetClass, Bar, Instrument, Interval
from streamlake_assets.stores.session_seed import Place, Seed, StreamPlace

_UNSEEN_CLASS: Final = AssetClass.STOCK
"""Class of an instrument before its first bar."""


class Settled(NamedTuple):
    """A message that changed the settled sessions of an instrument.

    ``is_new``: it brought a session after all that were known. Times are in seconds since 1970.
    """

    instrument: Instrument
    session: dt.date
    place: Place
    next_offset: int
    is_new: bool
    broker_time: float
    event_time: float


class SessionStates:
    """One ``InstrumentState`` for each instrument.

    Args:
        streams: identity of each topic.
        seed: where to begin.
        keep: settled sessions that each state keeps.
    """

    def __init__(self, streams: dict[str, StreamIdentity], seed: Seed, keep: int) -> None:
        self._streams = streams
        self._seed = seed
        self._keep = keep
        self._first: dict[Place, int] = {}
        self.by_instrument: dict[Instrument, InstrumentState] = {}
        for found in seed.instruments:
            state = self._made(found.instrument, found.asset_class)
            for bar in found.bars:
                state.put_bar(bar)
            for action in found.actions:
                state.put_action(action)

    @property
    def with_sessions(self) -> list[Instrument]:
        """Instruments that have a settled session."""
        return [instrument for instrument, state in self.by_instrument.items() if state.newest]

    @property
    def is_short(self) -> bool:
        """Whether a state must be made anew."""
        return any(state.is_short for state in self.by_instrument.values())

    def offsets(self, topic: str) -> dict[int, int]:
        """Return where each partition of a topic that the tables have something of is read from."""
        return self._seed.offsets(self._streams[topic])

    def begins(self) -> dict[Place, int]:
        """Return where each place is read from, also those that the tables had nothing of."""
        stored = {(topic, number): at for topic in self._streams for number, at in self.offsets(topic).items()}
        return self._first | stored

    def others_moved(self, stored: dict[StreamPlace, int]) -> bool:
        """Tell whether the tables have got something since that is not on these topics, as replayed dead letters."""
        ours = {(stream.cluster_id, stream.topic_id) for stream in self._streams.values()}
        others = {place: offset for place, offset in stored.items() if place[:2] not in ours}
        return any(self._seed.ends.get(place, 0) < offset for place, offset in others.items())

    def apply(self, messages: Sequence[Message]) -> list[Settled]:
        """Take messages; those that break the contract are left to the consumer, which keeps them as dead letters."""
        found = []
        # an action of the same take counts for the bar of its ex-date
        for message in sorted(messages, key=lambda message: message.topic != ACTIONS_TOPIC):
            self._first.setdefault((message.topic, message.partition), message.offset)
            try:
                if message.topic == ACTIONS_TOPIC:
                    self._apply_action(message)
                elif _may_be_daily(message.value):
                    bar = decode_bar(message.value, message.key, message.broker_time)
                    if bar.interval is Interval.D1 and (settled := self._apply_bar(message, bar)):
                        found.append(settled)
            except BadRecordError:
                continue
        return found

    def _made(self, instrument: Instrument, asset_class: AssetClass) -> InstrumentState:
        state = self.by_instrument[instrument] = InstrumentState(instrument, asset_class, self._keep)
        return state

    def _apply_action(self, message: Message) -> None:
        action = decode_action(message.value, message.key, message.broker_time)
        state = self.by_instrument.get(action.instrument) or self._made(action.instrument, _UNSEEN_CLASS)
        state.put_action(action_of(action, self._seed.rank(action.source)))

    def _apply_bar(self, message: Message, bar: Bar) -> Settled | None:
        state = self.by_instrument.get(bar.instrument) or self._made(bar.instrument, bar.asset_class)
        before = state.newest
        if before is None:
            state.asset_class = bar.asset_class
        version = session_version(bar, self._seed.rank(bar.source))
        if not state.put_bar(version) or state.newest is None:
            return None
        return Settled(
            bar.instrument,
            version.session,
            (message.topic, message.partition),
            message.offset + 1,
            before is None or state.newest > before,
            message.broker_time.timestamp(),
            bar.event_time.timestamp(),
        )


def _may_be_daily(value: bytes | None) -> bool:
    """Tell without decoding whether a message can be a daily bar: most are not.

    Version 1 must have the text "1d", version 0 the name "ticker"; only an escape could spell them otherwise.
    """
    return value is not None and (b'"1d"' in value or b'"ticker"' in value or b"\\" in value)
