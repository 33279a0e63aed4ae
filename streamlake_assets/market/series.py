"""The settled daily sessions of one instrument as arrays: what features are computed from.

Belongs here: the series, its checks, cutting it at a date, dates as numbers. Stays out: where the arrays come from
(``stores``), what is computed from them (``features``).
"""

import datetime as dt
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from streamlake_assets.errors import UsageError
from streamlake_assets.market.types import AssetClass, Instrument

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

EPOCH = dt.date(1970, 1, 1)


def ordinal(session: dt.date) -> int:
    """Return a date as days since 1970-01-01."""
    return (session - EPOCH).days


def from_ordinal(days: int) -> dt.date:
    """Return the date that is ``days`` after 1970-01-01."""
    return EPOCH + dt.timedelta(days=int(days))


@dataclass(frozen=True, eq=False)
class SessionSeries:
    """Settled daily sessions of one instrument, oldest first; all arrays have the same length n.

    ``sessions`` are days since 1970-01-01, strictly increasing. Prices and volume are raw; ``volume`` is NaN where the
    contract lets it be absent. ``factor`` is the product of the corporate-action factors of that ex-date, else 1.0.

    Raises:
        UsageError: arrays of different length or type, sessions out of order, or a factor that is not positive.
    """

    symbol: str
    exchange: str
    sessions: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    factor: FloatArray
    asset_class: AssetClass = AssetClass.STOCK

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            column = getattr(self, name)
            kind = np.int64 if name == "sessions" else np.float64
            if column.dtype != kind or column.shape != (len(self.sessions),):
                raise UsageError(f"{self.instrument}: {name} must be {len(self.sessions)} values of {kind.__name__}")
        if np.any(np.diff(self.sessions) <= 0):
            raise UsageError(f"{self.instrument}: sessions must be strictly increasing")
        if not np.all(self.factor > 0):
            raise UsageError(f"{self.instrument}: every corporate-action factor must be positive")

    def __len__(self) -> int:
        return len(self.sessions)

    @property
    def instrument(self) -> Instrument:
        """Identity of the instrument."""
        return Instrument(self.symbol, self.exchange)

    @property
    def last_session(self) -> dt.date:
        """Newest session.

        Raises:
            UsageError: the series is empty.
        """
        if not len(self):
            raise UsageError(f"{self.instrument}: no settled session stored")
        return from_ordinal(self.sessions[-1])

    def until(self, session: dt.date | None) -> "SessionSeries":
        """Return what was known after ``session`` had settled (None: everything)."""
        stop = len(self) if session is None else int(np.searchsorted(self.sessions, ordinal(session), side="right"))
        return self._rows(slice(0, stop))

    def tail(self, count: int) -> "SessionSeries":
        """Return the newest ``count`` sessions (all, when there are fewer)."""
        return self._rows(slice(max(len(self) - count, 0), len(self)))

    def _rows(self, rows: slice) -> "SessionSeries":
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})


_COLUMNS = tuple(f.name for f in fields(SessionSeries) if f.name not in {"symbol", "exchange", "asset_class"})
