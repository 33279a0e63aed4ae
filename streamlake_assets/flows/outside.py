"""What runs outside Dagster, as it looks now: topics, processes, the page, NiFi, what reports would read.

Belongs here: the questions, each with a time limit, and what their answers mean. Stays out: reporting them (``defs``),
whether something is well (``market.quality``). Nothing here fails because a server is away: that is an answer, and it
has no numbers.
"""

import datetime as dt
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from panel_app.serving import LIVENESS
from streamlake_assets.errors import ServerError, StreamlakeError, TryLaterError
from streamlake_assets.flows import observations
from streamlake_assets.market import quality
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.servers.ports import answers
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets.stores import bar_reader
from streamlake_assets.stores.operations import heartbeats

WITHIN_S: Final = 3.0
"""Longest wait for all answers together, in seconds."""
TOLD_AGAIN_S: Final = 600.0
"""Seconds after which a thing that has not changed is told of again; what changed is told of at once."""
TOPICS: Final = {"finance_data": BARS_TOPIC, "corporate_actions": ACTIONS_TOPIC}
PROCESSES: Final = ("consumer", "scorer", "alerts")
"""Names under which they write heartbeats."""
NIFI_FLOW: Final = "market_replay"
_PASSING: Final = ("age_s", "last_heartbeat", "answered_in_s")
"""Facts that change while nothing does."""
_MOST_TEXT: Final = 300

T = TypeVar("T")
Marks = Mapping[StreamIdentity, Mapping[int, tuple[int, int]]]


class State(StrEnum):
    """How a thing was found."""

    PRESENT = "present"
    SILENT = "silent"
    """A process whose last sign of life is too old."""
    NEVER_STARTED = "never started"
    AWAY = "away"
    """It did not answer, or what knows of it did not; the reason is beside it."""


class Sighting(NamedTuple):
    """One thing: how it was found, and plain facts (text, numbers, times, objects of these)."""

    state: State
    facts: dict[str, Any]


class Told(msgspec.Struct, frozen=True):
    """What was reported of a thing last, and when."""

    what: str
    at: dt.datetime


class Memory(msgspec.Struct, frozen=True):
    """What the next look has to know of this one: it is the cursor of whoever looks.

    ``ends`` are next offsets by ``topic id:partition``.
    """

    at: dt.datetime
    ends: dict[str, int] = {}
    told: dict[str, Told] = {}


class Look(NamedTuple):
    """All that was seen, by name; which of it is news; what to remember."""

    seen: dict[str, Sighting]
    news: tuple[str, ...]
    memory: Memory


class _Away(NamedTuple):
    reason: str


class _Tables(NamedTuple):
    stored: dict[tuple[str, int], int]
    beats: dict[str, tuple[dt.datetime, dict[str, Any]]]
    market_session: dt.date | None


def look(
    settings: Settings,
    reader: Callable[[], sa.Engine],
    now: dt.datetime,
    before: Memory | None = None,
    within_s: float = WITHIN_S,
) -> Look:
    """Ask everything at once and return what was answered in time.

    Args:
        settings: where the servers are.
        reader: gives the engine of a user that may read the tables; what it raises is an answer too.
        now: aware time of this look.
        before: what the last look left; None: this is the first.
        within_s: longest wait, in seconds, for all answers together.
    """
    found = _answers(
        {
            "kafka": lambda: observations.read_marks(settings.kafka),
            "tables": lambda: _read_tables(reader()),
            "page": lambda: _page(settings),
            "nifi": lambda: _nifi(settings),
        },
        within_s,
    )
    marks, tables = found["kafka"], found["tables"]
    seen = {
        **{name: _topic(topic, marks, tables, now, before) for name, topic in TOPICS.items()},
        **{name: _process(name, tables, now) for name in PROCESSES},
        "dashboard": _told_by(found["page"]),
        "nifi_flow": _told_by(found["nifi"]),
        "power_bi": _reports(tables),
    }
    if seen["consumer"].state is not State.AWAY:
        seen["consumer"].facts["lag_messages"] = _lag(marks, tables, tuple(TOPICS.values()))
    return _remembered(seen, {} if isinstance(marks, _Away) else _ends(marks), now, before)


def _remembered(seen: dict[str, Sighting], ends: dict[str, int], now: dt.datetime, before: Memory | None) -> Look:
    told = {} if before is None else dict(before.told)
    news = []
    for name, sighting in seen.items():
        lasting = {label: value for label, value in sighting.facts.items() if label not in _PASSING}
        what = msgspec.json.encode([sighting.state, lasting], order="deterministic").decode()
        last = told.get(name)
        if last is None or last.what != what or (now - last.at).total_seconds() >= TOLD_AGAIN_S:
            told[name] = Told(what, now)
            news.append(name)
    # nothing is kept of topics that did not answer: a rate over such a gap would be of no moment
    return Look(seen, tuple(news), Memory(now, ends, told))


def _answers(questions: Mapping[str, Callable[[], Any]], within_s: float) -> dict[str, Any]:
    """Ask beside each other; what is not answered in time, or answered by an error that has a reason, is away.

    The threads are left behind with their own time limits: a server that hangs must not hold back who asks.
    """
    asked = {name: _asked(question) for name, question in questions.items()}
    until = time.monotonic() + within_s
    found: dict[str, Any] = {}
    for name, future in asked.items():
        try:
            found[name] = future.result(max(0.0, until - time.monotonic()))
        except TimeoutError:
            found[name] = _Away(f"no answer within {within_s:g} s")
        except StreamlakeError as error:
            found[name] = _Away(str(error)[:_MOST_TEXT])
    return found


def _asked(question: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def answer() -> None:
        try:
            future.set_result(question())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=answer, name="look-outside", daemon=True).start()
    return future


def _read_tables(engine: sa.Engine) -> _Tables:
    with bar_reader.snapshot(engine) as connection:
        stored = {(end.topic_id, end.partition): end.next_offset for end in bar_reader.stream_ends(connection)}
        session = bar_reader.market_session(connection)
    return _Tables(stored, heartbeats(engine), session)


def _page(settings: Settings) -> Sighting:
    import httpx  # not when the code location is loaded

    address = f"http://{LOOPBACK}:{settings.panel_port}"
    begun = time.monotonic()
    try:
        # trust_env off: a proxy of this machine must not be asked for the loopback
        status = httpx.get(f"{address}{LIVENESS}", timeout=WITHIN_S, trust_env=False).status_code
    except httpx.HTTPError as error:
        raise TryLaterError(f"no page answers at {address}: {error}") from error
    if status >= httpx.codes.BAD_REQUEST:
        raise TryLaterError(f"the page at {address} answers with {status}")
    return Sighting(State.PRESENT, {"address": address, "answered_in_s": round(time.monotonic() - begun, 3)})


def _nifi(settings: Settings) -> Sighting:
    from streamlake_assets.servers.nifi_api import NifiApi  # it loads an HTTP client

    if not settings.nifi_url and not answers(settings.nifi_port):
        raise TryLaterError(f"no local NiFi listens at {settings.nifi}; it is optional")
    user, password = settings.nifi_user, settings.nifi_password.get_secret_value()
    try:
        with NifiApi(settings.nifi, user, password, settings.nifi_certificate) as api:
            group = api.group(NIFI_FLOW)
            counts = None if group is None else api.counts(group)
    except (KeyError, ValueError) as error:
        raise ServerError(f"what listens at {settings.nifi} does not answer as a NiFi: {error!r}") from error
    facts: dict[str, Any] = {"address": settings.nifi, "deployed": counts is not None}
    return Sighting(State.PRESENT, facts if counts is None else {**facts, **counts._asdict()})


def _told_by(found: Sighting | _Away) -> Sighting:
    return Sighting(State.AWAY, {"reason": found.reason}) if isinstance(found, _Away) else found


def _topic(
    topic: str, marks: Marks | _Away, tables: _Tables | _Away, now: dt.datetime, before: Memory | None
) -> Sighting:
    if isinstance(marks, _Away):
        return Sighting(State.AWAY, {"reason": marks.reason})
    own = {stream: partitions for stream, partitions in marks.items() if stream.topic == topic}
    ends = _ends(own)
    facts = {
        "topic": topic,
        "messages": sum(high - low for partitions in own.values() for low, high in partitions.values()),
        "high_watermarks": {place.rpartition(":")[2]: end for place, end in ends.items()},
        "lag_messages": _lag(marks, tables, (topic,)),
    }
    if before is not None and ends.keys() <= before.ends.keys() and now > before.at:
        came = sum(end - before.ends[place] for place, end in ends.items())
        facts["messages_per_second"] = round(came / (now - before.at).total_seconds(), 3)
    return Sighting(State.PRESENT, facts)


def _lag(marks: Marks | _Away, tables: _Tables | _Away, topics: Collection[str]) -> int | str:
    """Return messages that are not in the tables yet, or why that is not known: never a zero in its place."""
    if isinstance(marks, _Away):
        return f"unknown: {marks.reason}"
    if isinstance(tables, _Away):
        return f"unknown: {tables.reason}"
    return sum(
        high - tables.stored.get((stream.topic_id, partition), low)
        for stream, partitions in marks.items()
        if stream.topic in topics
        for partition, (low, high) in partitions.items()
    )


def _ends(marks: Marks) -> dict[str, int]:
    return {
        f"{stream.topic_id}:{partition}": high
        for stream, partitions in marks.items()
        for partition, (_, high) in sorted(partitions.items())
    }


def _process(name: str, tables: _Tables | _Away, now: dt.datetime) -> Sighting:
    if isinstance(tables, _Away):
        return Sighting(State.AWAY, {"reason": f"its heartbeats cannot be read: {tables.reason}"})
    if name not in tables.beats:
        return Sighting(State.NEVER_STARTED, {"reason": "it has never written a heartbeat into these tables"})
    at, said = tables.beats[name]
    age_s = (now - at).total_seconds()
    state = State.PRESENT if quality.is_alive(age_s).passed else State.SILENT
    return Sighting(state, {"last_heartbeat": at, "age_s": round(age_s, 1), "said": said})


def _reports(tables: _Tables | _Away) -> Sighting:
    if isinstance(tables, _Away):
        return Sighting(State.AWAY, {"reason": f"its views cannot be read: {tables.reason}"})
    session = tables.market_session
    return Sighting(State.PRESENT, {"market_session": "no bars yet" if session is None else session.isoformat()})
