"""What forecasts were worth once their sessions came: skill with its interval, signs, coverage by quarter.

Belongs here: sums over rows of the ledger, as plain records. Stays out: reading the ledger (``stores.page_ledger``),
the measures themselves (``market``), pictures and words.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.measures import HitRate, PeriodKind, hit_rate, live_skill, period_of
from streamlake_assets.market.series import ordinal
from streamlake_assets.market.skill import bootstrap_interval
from streamlake_assets.stores.page_ledger import LedgerLine

SEED: Final = 0
LEAST_SCORES: Final = 20
"""Scores below which a share says little: it is shown, and said to be few."""


class TrackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Of scored forecasts: skill over the baseline with its 95 % interval, signs, share inside the interval.

    ``low`` and ``high`` are None with fewer than eight sessions, ``skill`` where the baseline made no error.
    ``covered_share`` is None before the first score. ``beats`` tells whether the whole interval is above zero.
    """

    scored: int
    sessions: int
    late: int
    waiting: int
    skill: float | None
    low: float | None
    high: float | None
    hits: HitRate | None
    covered_share: float | None
    nominal: float | None

    @property
    def beats(self) -> bool:
        """Whether the live forecasts beat the baseline beyond doubt."""
        return self.low is not None and self.low > 0


class Quarter(msgspec.Struct, frozen=True):
    """Share of the scored forecasts of a calendar quarter whose interval held the truth."""

    name: str
    scored: int
    covered: int

    @property
    def share(self) -> float:
        """Share inside."""
        return self.covered / self.scored


def track_record(lines: Sequence[LedgerLine]) -> TrackRecord:
    """Sum up rows of one target; late ones were never scored and only count as late."""
    scored = [line for line in lines if line.realised is not None]
    sessions = np.array([ordinal(line.session) for line in scored], dtype=np.int64)
    truth = np.array([line.realised for line in scored], dtype=np.float64)
    point = np.array([line.point for line in scored], dtype=np.float64)
    error, baseline_error = truth - point, np.array([line.baseline_error for line in scored], dtype=np.float64)
    low = high = None
    dates, position = np.unique(sessions, return_inverse=True)
    skill = live_skill(error, baseline_error)
    if skill is not None:
        losses = [np.bincount(position, weights=each**2).astype(np.float64) for each in (error, baseline_error)]
        try:
            low, high = bootstrap_interval(losses[0], losses[1], seed=SEED)
        except UsageError:
            # too few sessions, or a baseline without error in a whole resample: there is no interval to speak of
            low = high = None
    signed = [line for line in scored if line.direction_hit is not None]
    return TrackRecord(
        scored=len(scored),
        sessions=len(dates),
        late=sum(line.late for line in lines),
        waiting=sum(line.realised is None and not line.late for line in lines),
        skill=skill,
        low=low,
        high=high,
        hits=hit_rate(truth, point) if signed else None,
        covered_share=sum(bool(line.covered) for line in scored) / len(scored) if scored else None,
        nominal=scored[0].coverage if scored else None,
    )


def by_quarter(lines: Iterable[LedgerLine]) -> list[Quarter]:
    """Return the coverage of each calendar quarter that has scores, the oldest first."""
    found: dict[str, tuple[int, int]] = {}
    for line in sorted(lines, key=lambda line: line.session):
        if line.covered is not None:
            name = _quarter(line.session)
            scored, covered = found.get(name, (0, 0))
            found[name] = (scored + 1, covered + line.covered)
    return [Quarter(name, scored, covered) for name, (scored, covered) in found.items()]


def _quarter(session: dt.date) -> str:
    return period_of(session, PeriodKind.QUARTER).name
