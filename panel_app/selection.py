"""What a viewer may choose: instrument, interval and range, from an allow-list, and the same in the page's address.

Belongs here: the check of everything that comes from an address or a widget. Stays out: widgets themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from panel_app.series import SeriesKey
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets.stores.page_rows import Listed

DAILY_RANGES: Final = {"1 mo": 21, "3 mo": 63, "1 yr": 252, "all": 0}
"""Bars shown of daily series; 0: all that are held."""
INTRADAY_RANGES: Final = {"1 day": 1, "5 days": 5, "all": 0}
"""Sessions shown of intraday series."""
DEFAULT_RANGE: Final = {True: "3 mo", False: "1 day"}


class Selection(msgspec.Struct, frozen=True):
    """What is shown; always one of the things there are."""

    instrument: Instrument
    interval: Interval
    range: str

    @property
    def key(self) -> SeriesKey:
        """The series that is shown."""
        return SeriesKey(self.instrument, self.interval)

    def query(self, listed: Sequence[Listed]) -> dict[str, str]:
        """Return the part of the address that leads here; the exchange only where the symbol alone is not enough."""
        query = {"symbol": self.instrument.symbol}
        if sum(one.instrument.symbol == self.instrument.symbol for one in listed) > 1:
            query["exchange"] = self.instrument.exchange
        return {**query, "interval": self.interval.value, "range": self.range.replace(" ", "-")}


def ranges_of(interval: Interval) -> dict[str, int]:
    """Return the ranges an interval offers."""
    return DAILY_RANGES if interval is Interval.D1 else INTRADAY_RANGES


def choose(
    listed: Sequence[Listed],
    symbol: str | None = None,
    exchange: str | None = None,
    interval: str | None = None,
    range_name: str | None = None,
) -> Selection | None:
    """Return the choice that these words name; a word that names nothing gives way to the default.

    Returns:
        The selection, or None when there is no instrument yet.
    """
    if not listed:
        return None
    named = [one for one in listed if one.instrument.symbol == symbol]
    named = [one for one in named if one.instrument.exchange == exchange] or named
    one = (named or list(listed))[0]
    daily = Interval.D1 if Interval.D1 in one.intervals else one.intervals[-1]
    shown = next((known for known in one.intervals if known.value == interval), daily)
    return Selection(one.instrument, shown, valid_range(shown, range_name))


def valid_range(interval: Interval, name: str | None) -> str:
    """Return the range if the interval offers it, else the interval's default."""
    return name if name is not None and name in ranges_of(interval) else DEFAULT_RANGE[interval is Interval.D1]


def from_address(listed: Sequence[Listed], arguments: Mapping[str, Sequence[bytes]]) -> Selection | None:
    """Return the choice that a page's address names; whatever it holds, the result is a thing there is."""

    def word(name: str) -> str | None:
        values = arguments.get(name) or [b""]
        return values[0].decode("ascii", "replace") or None

    return choose(listed, word("symbol"), word("exchange"), word("interval"), (word("range") or "").replace("-", " "))
