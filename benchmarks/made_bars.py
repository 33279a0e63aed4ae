"""Made 1-minute bars of 50 instruments in order of time: what every case sends, and what the tables must hold after it.

Belongs here: the bars, their messages, the ready file, and the expected count, sum and digest of any prefix. Stays out:
reading the tables (``checks``), sending (``rig``).
"""

import datetime as dt
import hashlib
import random
from array import array
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from streamlake_assets.market.sessions import UTC, session_date
from streamlake_assets.market.types import AssetClass, Bar, Interval, Status
from streamlake_assets.market.versions import bar_version

EXCHANGE = "XNAS"
SOURCE = "benchmark"
SOURCE_RANK = 20
SYMBOLS = tuple(f"B{number:03d}" for number in range(50))
START = dt.datetime(2024, 1, 2, 9, 0, tzinfo=UTC)
DIGEST_HEX = 15
"""Hexadecimal digits of each row's SHA-256 that are added up: sums stay exact on both sides."""


class Sums(NamedTuple):
    """What is compared after every run: number of rows, sum of volumes, sum of the rows' digests."""

    rows: int
    volume: int
    digest: int


def bars(rows: int) -> Iterator[Bar]:
    """Yield bars in order of time, all instruments for each minute; the same ones for every call."""
    made = random.Random(20240102)  # noqa: S311
    cents = [made.randrange(2_000, 50_000) for _ in SYMBOLS]
    for number in range(rows):
        minute, which = divmod(number, len(SYMBOLS))
        opened = cents[which]
        closed = max(100, opened + made.randrange(-20, 21))
        high, low = max(opened, closed) + made.randrange(15), min(opened, closed) - made.randrange(15)
        cents[which] = closed
        bar_time = START + dt.timedelta(minutes=minute)
        yield Bar(
            symbol=SYMBOLS[which],
            exchange=EXCHANGE,
            asset_class=AssetClass.STOCK,
            interval=Interval.M1,
            bar_time=bar_time,
            open=_price(opened),
            high=_price(high),
            low=_price(low),
            close=_price(closed),
            volume=Decimal(made.randrange(1, 100_000)),
            source=SOURCE,
            synthetic=True,
            status=Status.SETTLED,
            event_time=bar_time,
            as_of=bar_time + dt.timedelta(minutes=1),
        )


def _price(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def row_digest(bar: Bar) -> int:
    """Return the digest of a row's key and prices, as ``checks`` computes it on the server."""
    numbers = "|".join(f"{value:.10f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume or Decimal(0)))
    text = f"{bar.symbol}|{bar.interval.value}|{bar.bar_time:%Y-%m-%d %H:%M:%S.%f}|{numbers}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:DIGEST_HEX], 16)


class Expected:
    """Volumes and digests of the messages of each partition, in offset order."""

    def __init__(self) -> None:
        self._volumes: dict[int, array[int]] = {}
        self._digests: dict[int, array[int]] = {}
        self.last: dict[int, tuple[str, dt.datetime]] = {}
        """Symbol and time of the last bar of each partition."""

    def add(self, partition: int, bar: Bar) -> None:
        """Add the next message of a partition."""
        self._volumes.setdefault(partition, array("q")).append(int(bar.volume or 0))
        self._digests.setdefault(partition, array("q")).append(row_digest(bar))
        self.last[partition] = (bar.symbol, bar.bar_time)

    @property
    def ends(self) -> dict[int, int]:
        """Next offset after the last message of each partition."""
        return {partition: len(found) for partition, found in sorted(self._volumes.items())}

    def sums(self, ends: Mapping[int, int]) -> Sums:
        """Return what the tables must hold when each partition is stored up to its offset."""
        return Sums(
            sum(ends.values()),
            sum(sum(self._volumes[partition][:end]) for partition, end in ends.items()),
            sum(sum(self._digests[partition][:end]) for partition, end in ends.items()),
        )


def ready_line(bar: Bar, instrument_id: int, interval_id: int, source_id: int, batch_id: int, offset: int) -> bytes:
    """Return a row of ``bars`` as ``LOAD DATA`` reads it: all columns in table order, tabs between, bytes escaped."""
    times = [f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in (bar.as_of, bar.event_time, bar.event_time)]
    before = [
        str(instrument_id),
        str(interval_id),
        f"{bar.bar_time:%Y-%m-%d %H:%M:%S}",
        session_date(bar.bar_time, bar.exchange).isoformat(),
        *(str(value) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)),
        "\\N",
        "\\N",
        bar.status.value,
        str(int(bar.synthetic)),
        str(source_id),
        *times,
    ]
    digest = bar_version(bar, SOURCE_RANK).digest
    for plain, escaped in ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\0", b"\\0")):
        digest = digest.replace(plain, escaped)
    return b"\t".join(["\t".join(before).encode(), digest, f"{batch_id}\t{offset}\n".encode()])
