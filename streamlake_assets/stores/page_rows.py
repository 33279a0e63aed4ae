"""What pages get out of the stores: frozen records, no reading.

Belongs here: the records that ``page_reader`` (MySQL) and ``page_documents`` return. Stays out: SQL, queries, pictures.
"""

import datetime as dt

import msgspec

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.signals import Action
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Instrument, Interval, Status
from streamlake_assets.market.versions import Version


class PageBar(msgspec.Struct, frozen=True, gc=False):
    """A bar as pages show it: floats are exact enough for a picture.

    ``version`` is its place in the order of versions; None where a document stands for it, which does not say.
    """

    bar_time: dt.datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    status: Status
    synthetic: bool
    version: Version | None


class Watermark(msgspec.Struct, frozen=True):
    """How far the documents reach: every message of the topic below these offsets is in them."""

    cluster_id: str
    topic_id: str
    next_offsets: dict[int, int]

    def is_of(self, stream: StreamIdentity) -> bool:
        """Tell whether it speaks of this stream, not of an earlier topic or another cluster."""
        return (self.cluster_id, self.topic_id) == (stream.cluster_id, stream.topic_id)


class DailyDocuments(msgspec.Struct, frozen=True):
    """Complete sessions as daily bars, oldest first.

    ``doubtful`` are the bar times of sessions summed from made intraday bars: the daily bar itself may well be real,
    and only its row can tell.
    """

    bars: tuple[PageBar, ...] = ()
    doubtful: frozenset[dt.datetime] = frozenset()


class Snapshot(msgspec.Struct, frozen=True):
    """Rows of one series and the stream's next offsets, both of the same moment.

    ``past_documents`` tells whether the rows only complete the documents or are all there is.
    """

    bars: tuple[PageBar, ...]
    next_offsets: dict[int, int]
    past_documents: bool


class Listed(msgspec.Struct, frozen=True):
    """An instrument that has bars, and the intervals it has them at, shortest first."""

    instrument: Instrument
    asset_class: AssetClass
    name: str | None
    intervals: tuple[Interval, ...]


class Overview(msgspec.Struct, frozen=True):
    """What every page needs to know, read once a second for all of them.

    ``next_offsets`` are those of ``stream``; ``session`` is the newest settled session of all instruments;
    ``unseen_alerts`` counts what is not well and nobody has acknowledged.
    """

    stream: StreamIdentity | None = None
    listed: tuple[Listed, ...] = ()
    ranks: dict[str, int] = {}
    next_offsets: dict[int, int] = {}
    session: dt.date | None = None
    last_batch_at: dt.datetime | None = None
    unseen_alerts: int = 0


class NextForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the champion of a target says of an instrument's next session; ``values`` None when it has not spoken yet.

    ``engine`` and ``has_skill`` are those of the champion, which may be version 0, the baseline.
    """

    target: Target
    model_version: str
    engine: str
    has_skill: bool
    values: "ForecastValues | None"


class PageSignal(msgspec.Struct, frozen=True):
    """A signal of an instrument, the session it is for, and the model whose forecast it came from."""

    session: dt.date
    side: Action
    model_version: str


class ForecastValues(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger, in the target's natural unit (a logarithm of a ratio)."""

    session: dt.date
    known_session: dt.date
    point: float
    low: float
    high: float
    baseline: float
    coverage: float
