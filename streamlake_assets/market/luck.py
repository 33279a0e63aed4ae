"""Luck: how often chance alone does as well as a backtest did.

Belongs here: random signals of equal turnover, the deflated Sharpe ratio. Stays out: the money itself (``backtest``).
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.backtest import Openings, active_rows, carried
from streamlake_assets.market.series import FloatArray
from streamlake_assets.market.skill import BLOCK_DATES

DRAWS = 1000
_EULER = 0.5772156649015329


class Luck(NamedTuple):
    """How a strategy compares with its own positions at wrong times.

    ``draws``: how many there were; ``as_good``: how many earned at least as much; ``probability``: of that, the
    strategy itself counted among the draws, so it is never zero. ``median_gross``: gross total return of the median
    draw.
    """

    draws: int
    as_good: int
    probability: float
    median_gross: float


def luck(market: Openings, made: FloatArray, *, seed: int, draws: int = DRAWS) -> Luck:
    """Compare decisions with themselves, shifted in time around a circle.

    A shift keeps how long positions last, how often they change, and which are held together; only their timing is
    lost. Every draw is charged exactly the trades the strategy made, so turnover and costs are equal to the last bit,
    and comparing gross returns compares net ones. An instrument is shifted within the dates it takes part in. Shifts
    shorter than a month (or an eighth of the dates) are left out, since they are nearly the strategy itself; none is
    drawn twice, so a short history has fewer draws. (1 + as good) / (1 + draws) is the permutation test's probability
    (Phipson and Smyth, 2010).

    Args:
        market: T dates, N instruments.
        made: decisions, T by N, NaN where there is none.
        seed: of the draws.
        draws: how many to make, at most.

    Raises:
        UsageError: fewer than 16 periods.
    """
    position, active = carried(market, made), active_rows(market, made)
    periods = len(market.growth)
    if periods < 16:
        raise UsageError(f"{periods} periods are too few to shift decisions in")
    least = min(BLOCK_DATES, periods // 8)
    possible = np.arange(least, periods - least + 1)
    shifts = np.random.default_rng(seed).permutation(possible)[:draws]
    share = active / np.maximum(active.sum(axis=1), 1)[:, None]
    own = [np.flatnonzero(column) for column in active.T]
    # what each instrument adds to the whole per unit of its position
    moves = [(share[rows, i], market.growth[rows, i] - 1.0) for i, rows in enumerate(own)]

    def log_total(shift: int) -> float:
        earned = np.zeros(periods)
        for i, rows in enumerate(own):
            part, move = moves[i]
            earned[rows] += np.roll(position[rows, i], shift) * part * move
        with np.errstate(divide="ignore"):
            return float(np.log(np.maximum(1.0 + earned, 0.0)).sum())

    truth = log_total(0)
    drawn = np.array([log_total(int(shift)) for shift in shifts])
    # equal positions at another time may differ in the last bit: such a draw is as good
    as_good = int(np.count_nonzero(drawn >= truth - 1e-9))
    median = float(np.quantile(drawn, 0.5, method="nearest"))
    return Luck(len(drawn), as_good, (1 + as_good) / (1 + len(drawn)), math.exp(median) - 1.0)


def deflated_sharpe(returns: FloatArray, trials: int) -> float | None:
    """Return how probable it is that the true Sharpe ratio is above what the best of so many trials shows by luck.

    The spread of the trials' Sharpe ratios is taken to be that of strategies without skill, 1 / (T - 1).

    Args:
        returns: simple returns per period, T values.
        trials: how many strategies were tried before this one was chosen, itself included.

    Raises:
        UsageError: fewer than 3 returns or no trial.
    """
    if len(returns) < 3:
        raise UsageError(f"a deflated Sharpe ratio needs 3 returns, there are {len(returns)}")
    centred = returns - returns.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    if spread <= 1e-12:
        return None
    return deflated_sharpe_of(
        float(returns.mean()) / spread,
        skewness=float(np.mean(centred**3)) / spread**3,
        kurtosis=float(np.mean(centred**4)) / spread**4,
        periods=len(returns),
        trials=trials,
        trial_variance=1.0 / (len(returns) - 1),
    )


def deflated_sharpe_of(
    ratio: float, *, skewness: float, kurtosis: float, periods: int, trials: int, trial_variance: float
) -> float:
    """Return the deflated Sharpe ratio from its parts (Bailey and López de Prado, 2014, equations 1 and 9).

    With one trial it is the probabilistic Sharpe ratio against zero.

    Args:
        ratio: Sharpe ratio per period, not per year.
        skewness: of the returns.
        kurtosis: of the returns, 3 for a normal law.
        periods: number of returns.
        trials: independent trials.
        trial_variance: variance of the trials' ratios per period.

    Raises:
        UsageError: no trial.
    """
    if trials < 1:
        raise UsageError("the strategy itself is a trial: there is at least one")
    normal, expected_best = NormalDist(), 0.0
    if trials > 1:
        expected_best = math.sqrt(trial_variance) * (
            (1 - _EULER) * normal.inv_cdf(1 - 1 / trials) + _EULER * normal.inv_cdf(1 - 1 / (trials * math.e))
        )
    # never negative, since kurtosis >= skewness² + 1
    variance = max(1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2, 1e-12)
    return normal.cdf((ratio - expected_best) * math.sqrt(periods - 1) / math.sqrt(variance))
