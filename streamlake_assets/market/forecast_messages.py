"""The messages of the topic ``forecasts``: what was said of a session, and later what came of it; version 1.

Belongs here: fields, encoding, decoding. Stays out: the ledger, whose copy the topic is (``stores``), sending
(``sidecar``). Imports no numerical library, so that pages may read the topic.

The key is the symbol. A forecast and its score carry the same ``id``, that of the ledger's row, and every message can
come again after a crash of the sender: (``kind``, ``id``) tells that it is the same. Fields may be added in version 1;
a reader ignores what it does not know.
"""

import datetime as dt
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from streamlake_assets.market.targets import Target
from streamlake_assets.market.wire import Mic, Symbol, Time

VERSION: Final = 1
FORECAST: Final = "forecast"
SCORE: Final = "score"

_One = Annotated[int, Meta(ge=VERSION, le=VERSION)]


class ForecastMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=FORECAST):
    """What a model said of ``session`` after ``after_session`` had settled; values in the target's natural unit.

    ``late``: a bar of the session was stored before the forecast, so it does not count and gets no score. ``has_skill``
    is what the gate said of the model. ``issued_at`` is the database's time of the row.
    """

    v: _One = VERSION
    id: int
    symbol: Symbol
    exchange: Mic
    target: Target
    session: dt.date
    after_session: dt.date
    model_version: str
    engine: str
    has_skill: bool
    point: float
    low: float
    high: float
    coverage: float
    baseline: float
    scale: float
    late: bool
    issued_at: Time


class ScoreMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=SCORE):
    """What came of the forecast ``id``; errors are truth minus forecast, and truth minus baseline."""

    v: _One = VERSION
    id: int
    symbol: Symbol
    exchange: Mic
    target: Target
    session: dt.date
    model_version: str
    realised: float
    error: float
    baseline_error: float
    covered: bool
    direction_hit: bool | None
    scored_at: Time


LedgerMessage = ForecastMessage | ScoreMessage

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[LedgerMessage] = msgspec.json.Decoder(LedgerMessage)


def encode(message: LedgerMessage) -> bytes:
    """Return a message as JSON."""
    return _ENCODER.encode(message)


def decode(value: bytes) -> LedgerMessage:
    """Return the message of some JSON.

    Raises:
        msgspec.MsgspecError: it is no JSON, of another kind or version, or a field is missing or wrong.
    """
    return _DECODER.decode(value)
