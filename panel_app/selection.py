"""What a viewer may choose: view, instrument, interval and range, from allow-lists, and the same in the address.

Belongs here: the check of everything that comes from an address or a widget. Stays out: widgets themselves.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
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


class ViewName(StrEnum):
    """The views there are, in the order of the navigation; the values stand in the address."""

    LIVE = "live"
    FORECASTS = "forecasts"
    MODELS = "models"
    QUALITY = "quality"
    INDICATORS = "indicators"


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
        return _word(arguments, name)

    return choose(listed, word("symbol"), word("exchange"), word("interval"), (word("range") or "").replace("-", " "))


def view_named(arguments: Mapping[str, Sequence[bytes]]) -> ViewName:
    """Return the view that an address names, the live one where it names none that there is."""
    word = _word(arguments, "view")
    return next((view for view in ViewName if view.value == word), ViewName.LIVE)


def ignored(listed: Sequence[Listed], arguments: Mapping[str, Sequence[bytes]]) -> tuple[str, ...]:
    """Return which of the words that an address gives were not followed, by name, in the order of the address bar."""
    selection = from_address(listed, arguments)
    if selection is None:
        return ()
    followed = {
        "view": view_named(arguments).value,
        "symbol": selection.instrument.symbol,
        "exchange": selection.instrument.exchange,
        "interval": selection.interval.value,
        "range": selection.range.replace(" ", "-"),
    }
    return tuple(name for name, value in followed.items() if arguments.get(name) and _word(arguments, name) != value)


def _word(arguments: Mapping[str, Sequence[bytes]], name: str) -> str | None:
    values = arguments.get(name) or [b""]
    return values[0].decode("ascii", "replace") or None
