"""A made market as CSV or as messages, the bad fields included.

Belongs here: columns and JSON of made bars, and what a bad field looks like in each. Stays out: where they go (
``commands.simulate``), what is bad (``planted_faults``).
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.sessions import daily_bar_time, from_microseconds, session_date
from streamlake_assets.market.types import AssetClass, Bar, CorporateAction, Interval, Status
from streamlake_assets.sources.planted_faults import BAD_FIELDS, FaultyBars
from streamlake_assets.sources.simulated_market import CENTS, SOURCE, Floats, MarketSpec, SessionBars

_NEGATIVE, _HIGH_BELOW_LOW, _TEXT, _MISSING, _BAD_SYMBOL, _BAD_TIME = range(len(BAD_FIELDS))
_NO_TIME: Final = "yesterday"
_NO_PRICE: Final = "n/a"


class Keyed(NamedTuple):
    """One message: its key and value."""

    key: str
    value: bytes


class CsvColumns:
    """Made bars as columns of text, with the header names that ``streamlake replay`` recognises."""

    def __init__(self, spec: MarketSpec) -> None:
        """Remember the names of the instruments."""
        self._spec = spec
        self._symbols = pa.array(spec.symbols)
        has_volume = spec.asset_class not in (AssetClass.INDEX, AssetClass.FX)
        self._names = ["symbol", "time", "open", "high", "low", "close", *(["volume"] if has_volume else [])]
        if spec.interval is Interval.D1:
            self._names.append("adj_close")

    @property
    def schema(self) -> pa.Schema:
        """All columns are text: a bad field may be anything."""
        return pa.schema([(name, pa.string()) for name in self._names])

    def table(self, bars: FaultyBars, adjusted: Mapping[int, Floats] | None = None) -> pa.Table:
        """Return bars as a table.

        Args:
            bars: in the order of their arrival.
            adjusted: for daily bars: start of a session -> factor by instrument that turns its raw closes into adjusted
                ones; a bar that is late has that of its own session.
        """
        prices = {name: _cents(getattr(bars, name), bars.bad_field, name) for name in ("open", "high", "low", "close")}
        columns: dict[str, pa.Array] = {
            "symbol": _replaced(self._symbols.take(pa.array(bars.instrument)), bars.bad_field == _BAD_SYMBOL, "sim 1!"),
            "time": _replaced(self._times(bars.start), bars.bad_field == _BAD_TIME, _NO_TIME),
            **prices,
            "volume": pc.cast(pa.array(bars.volume), pa.string()),
        }
        if adjusted is not None:
            # with all digits: what is derived from it must be the factor again
            pairs = zip(bars.start.tolist(), bars.instrument.tolist(), strict=True)
            closes = bars.close / CENTS * np.array([adjusted[start][instrument] for start, instrument in pairs])
            columns["adj_close"] = pa.array([f"{value:.10f}" for value in closes])
        return pa.table([columns[name] for name in self._names], schema=self.schema)

    def _times(self, start: Any) -> pa.Array:
        # few different ones: a session has as many as an instrument has bars
        unique, places = np.unique(start, return_inverse=True)
        moments = [from_microseconds(one) for one in unique.tolist()]
        if self._spec.interval is Interval.D1:
            texts = [session_date(one, self._spec.exchange).isoformat() for one in moments]
        else:
            texts = [one.strftime("%Y-%m-%dT%H:%M:%SZ") for one in moments]
        return pa.array(texts).take(pa.array(places))


def messages(spec: MarketSpec, bars: FaultyBars, now: dt.datetime) -> Iterator[Keyed]:
    """Yield bars as messages of the topic ``finance-data``, each put on the wire ``now`` or ahead by its skew."""
    symbols = spec.symbols
    labels = [spec.label(number) for number in range(spec.instruments)]
    has_volume = spec.asset_class not in (AssetClass.INDEX, AssetClass.FX)
    columns = (column.tolist() for column in bars)
    for instrument, start, end, opens, high, low, close, volume, bad, skew in zip(*columns, strict=True):
        name, sector, currency = labels[instrument]
        bar = Bar(
            symbol=symbols[instrument],
            exchange=spec.exchange,
            asset_class=spec.asset_class,
            interval=spec.interval,
            bar_time=from_microseconds(start),
            open=_price(opens),
            high=_price(high),
            low=_price(low),
            close=_price(close),
            volume=Decimal(volume) if has_volume else None,
            source=SOURCE,
            synthetic=True,
            status=Status.SETTLED,
            event_time=now,
            as_of=from_microseconds(end),
            currency=currency,
            sector=sector,
            name=name,
        )
        value = encode_bar(bar, now + dt.timedelta(seconds=skew))
        yield Keyed(bar.symbol, value if bad < 0 else _broken(value, bad))


def actions(spec: MarketSpec, bars: SessionBars) -> Iterator[CorporateAction]:
    """Yield the corporate actions that come with a session."""
    symbols = spec.symbols
    moment = daily_bar_time(bars.session, spec.exchange)
    for planted in bars.actions:
        yield CorporateAction(
            symbol=symbols[planted.instrument],
            exchange=spec.exchange,
            kind=planted.kind,
            ex_date=bars.session,
            factor=planted.factor,
            source=SOURCE,
            event_time=moment,
            as_of=moment,
        )


def _broken(value: bytes, bad: int) -> bytes:
    fields: dict[str, Any] = msgspec.json.decode(value)
    match bad:
        case 0:
            fields["close"] = -fields["close"]
        case 1:
            fields["high"], fields["low"] = fields["low"] - 1, fields["high"] + 1
        case 2:
            fields["close"] = _NO_PRICE
        case 3:
            del fields["close"]
        case 4:
            fields["symbol"] = fields["symbol"].lower()
        case _:
            fields["bar_time"] = _NO_TIME
    return msgspec.json.encode(fields)


def _cents(ticks: Any, bad_field: Any, name: str) -> pa.Array:
    values = pc.cast(pa.array(ticks / CENTS), pa.string())
    if name == "close":
        values = _replaced(values, bad_field == _NEGATIVE, "-1")
        values = _replaced(values, bad_field == _TEXT, _NO_PRICE)
        values = _replaced(values, bad_field == _MISSING, "")
    if name == "high":
        values = _replaced(values, bad_field == _HIGH_BELOW_LOW, "0.001")
    return values


def _replaced(values: pa.Array, where: Any, text: str) -> pa.Array:
    return pc.if_else(pa.array(where), text, values) if where.any() else values


def _price(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)
