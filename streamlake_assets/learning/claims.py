"""The claims audit: famous figures of other systems, each reproduced with its mistake, beside the honest figure.

Belongs here: the measurement on made and on real bars, the honest skill, the record of all of it. Stays out: what is
claimed (``claims_stated``), the mistakes themselves (``claims_flaws``), the bars (``claims_made``), storing and showing
(``flows.claims``).

A figure is the median over random seeds (made bars) or over instruments (real bars). The honest figure asks the same
kind of model for the next session's return, from what was known before, in time order: skill over zero with the 95 %
interval of ``market.skill``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from streamlake_assets.learning import claims_flaws as flaws
from streamlake_assets.learning.arima import first_forecast, return_forecasts
from streamlake_assets.learning.claims_made import Bars, adjusted_bars, made_sessions, usable
from streamlake_assets.learning.claims_stated import KAPPA_REPORTED, Fit, Statement, statement
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.skill import Skill, measure_skill, walk_forward_folds
from streamlake_assets.market.targets import Target

SEEDS: Final = tuple(range(8))
COPIES: Final = 5
"""Times each bar is indexed; with five, all three of Kappa's figures come near at once."""
_BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Profile:
    """How much is computed.

    ``sessions`` are the newest bars of the regressions on levels (502 is about two years, as Kappa had),
    ``walk_sessions`` those of ARIMA, ``honest_sessions`` those the honest figures rest on; each per instrument.
    ``trees`` are those of Kappa's forest.
    """

    sessions: int
    walk_sessions: int
    honest_sessions: int
    trees: int = flaws.KAPPA_TREES


FULL: Final = Profile(sessions=502, walk_sessions=1_000, honest_sessions=10_000)
QUICK: Final = Profile(sessions=252, walk_sessions=500, honest_sessions=800)


@dataclass(frozen=True)
class Figure:
    """A median with its lowest and highest value, and the values by seed or instrument."""

    value: float
    low: float
    high: float
    each: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Honest:
    """Skill over the baseline of returns (zero) with its 95 % interval, over ``rows`` forecasts on ``dates`` dates."""

    skill: float
    low: float
    high: float
    rows: int
    dates: int


@dataclass(frozen=True)
class Step:
    """One more figure on the way from the mistake to the honest one."""

    name: str
    made: Figure
    real: Figure


@dataclass(frozen=True)
class Claim:
    """One claim: the statement, the figure reproduced on made and on real bars, the honest figure on each."""

    statement: Statement
    made: Figure
    real: Figure
    honest_made: Honest
    honest: Honest
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values, the statement's fields among them."""
        plain = {**asdict(self.statement), **asdict(replace(self, steps=())), "steps": [asdict(s) for s in self.steps]}
        del plain["statement"]
        plain["band"] = list(self.statement.band)
        return plain


@dataclass(frozen=True)
class Regression:
    """One of Kappa's three: as reported, and here with each bar indexed five times; MSE in squared price units."""

    name: str
    reported_r2: float
    reported_mse: float
    made_r2: Figure
    made_mse: Figure
    real_r2: Figure
    real_mse: Figure
    honest: Honest


@dataclass(frozen=True)
class ClaimsAudit:
    """All claims on one set of bars; the same bars, seeds and profile give the same audit."""

    claims: tuple[Claim, ...]
    regressions: tuple[Regression, ...]
    seeds: tuple[int, ...]
    profile: Profile
    instruments: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values."""
        return {
            "claims": [claim.to_dict() for claim in self.claims],
            "regressions": [asdict(regression) for regression in self.regressions],
            "seeds": list(self.seeds),
            "profile": asdict(self.profile),
            "instruments": list(self.instruments),
            "left_out": [list(pair) for pair in self.left_out],
        }


@dataclass(frozen=True, eq=False)
class _Ground:
    """One kind of bars, made or real: what the mistakes are made on and what the honest figures rest on."""

    bars: tuple[Bars, ...]
    walks: tuple[Bars, ...]
    frame: TrainingFrame

    def figure(self, of: Callable[[Bars], float], walks: bool = False) -> Figure:
        return _figure((one.name, of(one)) for one in (self.walks if walks else self.bars))


def audit(series: Sequence[SessionSeries], *, seeds: Sequence[int] = SEEDS, profile: Profile = FULL) -> ClaimsAudit:
    """Reproduce every claim on made bars and on the given ones, and measure the honest figure beside it.

    Args:
        series: real settled sessions, one series per instrument; those with too little are left out with the reason.
        seeds: of the made random walks.
        profile: how much is computed.

    Raises:
        UsageError: no instrument has enough sessions, prices and volumes.
    """
    kept, left_out = usable(series)
    made = _ground([made_sessions(profile.walk_sessions, seed) for seed in seeds], profile)
    real = _ground(kept, profile)
    duplicates, regressions = _duplicates(made, real, profile.trees)
    claims = (duplicates, _off_by_one(made, real), _price_level(made, real), _same_bar(made, real))
    return ClaimsAudit(
        claims=claims,
        regressions=regressions,
        seeds=tuple(seeds),
        profile=profile,
        instruments=tuple(str(one.instrument) for one in kept),
        left_out=tuple(left_out.items()),
    )


def _ground(series: Sequence[SessionSeries], profile: Profile) -> _Ground:
    return _Ground(
        bars=tuple(adjusted_bars(one, profile.sessions) for one in series),
        walks=tuple(adjusted_bars(one, profile.walk_sessions) for one in series),
        frame=training_frame([one.tail(profile.honest_sessions) for one in series], None, LOOKBACK),
    )


def _duplicates(made: _Ground, real: _Ground, trees: int) -> tuple[Claim, tuple[Regression, ...]]:
    estimators = flaws.kappa_regressions(trees)
    forest = {"forest": estimators["forest"]}
    ways: dict[str, Callable[[Bars], dict[str, Fit]]] = {
        "copied": lambda b: flaws.random_split(b.volume[:, None], b.close, estimators, COPIES),
        "once": lambda b: flaws.random_split(b.volume[:, None], b.close, forest),
        "ordered": lambda b: flaws.ordered_split(b.volume[:, None], b.close, forest),
    }
    scores = {
        (way, kind): {one.name: score(one) for one in ground.bars}
        for way, score in ways.items()
        for kind, ground in (("made", made), ("real", real))
    }

    def figure(way: str, kind: str, name: str = "forest", part: str = "r2") -> Figure:
        return _figure((of, getattr(fits[name], part)) for of, fits in scores[way, kind].items())

    honest = {name: _honest(real, ("volume_z",), estimator) for name, estimator in estimators.items()}
    claim = Claim(
        statement("duplicates"),
        made=figure("copied", "made"),
        real=figure("copied", "real"),
        honest_made=_honest(made, ("volume_z",), estimators["forest"]),
        honest=honest["forest"],
        steps=(
            Step("R2, each bar indexed once, random split", figure("once", "made"), figure("once", "real")),
            Step("R2, each bar once, in time order", figure("ordered", "made"), figure("ordered", "real")),
        ),
    )
    regressions = tuple(
        Regression(
            name,
            KAPPA_REPORTED[name].r2,
            KAPPA_REPORTED[name].mse,
            made_r2=figure("copied", "made", name),
            made_mse=figure("copied", "made", name, "mse"),
            real_r2=figure("copied", "real", name),
            real_mse=figure("copied", "real", name, "mse"),
            honest=honest[name],
        )
        for name in estimators
    )
    return claim, regressions


def _off_by_one(made: _Ground, real: _Ground) -> Claim:
    found = [{one.name: flaws.off_by_one(one.close) for one in ground.walks} for ground in (made, real)]

    def pair(of: Callable[[flaws.OffByOne], float]) -> tuple[Figure, Figure]:
        of_made, of_real = (_figure((name, of(score)) for name, score in scores.items()) for scores in found)
        return of_made, of_real

    return Claim(
        statement("off_by_one"),
        *pair(lambda one: one.stored_r2),
        honest_made=_honest_arima(made),
        honest=_honest_arima(real),
        steps=(
            Step("RMSE aligned / RMSE as stored", *pair(lambda one: one.times_too_good)),
            Step("RMSE aligned / RMSE of the last price", *pair(lambda one: one.aligned_rmse / one.persistence_rmse)),
        ),
    )


def _price_level(made: _Ground, real: _Ground) -> Claim:
    def copied(bars: Bars) -> float:
        return flaws.copied_price(bars.close).r2

    def shuffled(bars: Bars) -> float:
        return flaws.random_split(*flaws.lagged_levels(bars.close), {"forest": flaws.mllib_forest()})["forest"].r2

    def ordered(bars: Bars) -> float:
        return flaws.ordered_split(*flaws.lagged_levels(bars.close), {"forest": flaws.mllib_forest()})["forest"].r2

    returns = ("return_1", "return_5", "return_22")
    return Claim(
        statement("price_level"),
        made=made.figure(copied),
        real=real.figure(copied),
        honest_made=_honest(made, returns, flaws.mllib_forest()),
        honest=_honest(real, returns, flaws.mllib_forest()),
        steps=(
            Step("R2, forest on the closes before, random split", made.figure(shuffled), real.figure(shuffled)),
            Step("R2, forest on the closes before, in time order", made.figure(ordered), real.figure(ordered)),
        ),
    )


def _same_bar(made: _Ground, real: _Ground) -> Claim:
    from sklearn.linear_model import LinearRegression

    def score(bars: Bars) -> float:
        return flaws.same_bar(bars).r2

    lagged = ("return_1", "gap_1", "range_1")
    return Claim(
        statement("same_bar"),
        made=made.figure(score),
        real=real.figure(score),
        honest_made=_honest(made, lagged, LinearRegression()),
        honest=_honest(real, lagged, LinearRegression()),
        steps=(),
    )


def _honest(ground: _Ground, features: Sequence[str], estimator: Any) -> Honest:
    """Fit on the first four fifths of the dates, forecast the returns of the last, purged; all instruments pooled."""
    frame, target = ground.frame, Target.ADJUSTED_RETURN
    dates = len(np.unique(frame.sessions))
    first = dates - round(dates * flaws.TEST_SHARE)
    (fold,) = walk_forward_folds(frame.sessions, frame.target_sessions, first_train=first, step=dates, embargo=0)
    x, scale = frame.columns(features), frame.scale[target]
    estimator.fit(x[fold.train], (frame.y[target] / scale)[fold.train])
    made = estimator.predict(x[fold.test]) * scale[fold.test]
    truth, zero = frame.y[target][fold.test], frame.baseline[target][fold.test]
    sessions = frame.sessions[fold.test]
    return _as_honest(measure_skill(sessions, truth, made, zero, directional=True, seed=_BOOTSTRAP_SEED))


def _honest_arima(ground: _Ground) -> Honest:
    """Score aligned forecasts of the log return over zero, all instruments pooled."""
    sessions, truths, forecasts = [], [], []
    for bars in ground.walks:
        prices = np.log(bars.close)
        first = first_forecast(prices)
        truth, made = return_forecasts(prices, first)
        sessions.append(bars.sessions[first:])
        truths.append(truth)
        forecasts.append(made)
    truth = np.concatenate(truths)
    zero = np.zeros(len(truth))
    return _as_honest(
        measure_skill(
            np.concatenate(sessions), truth, np.concatenate(forecasts), zero, directional=True, seed=_BOOTSTRAP_SEED
        )
    )


def _as_honest(skill: Skill) -> Honest:
    return Honest(skill.skill, skill.low, skill.high, skill.rows, skill.dates)


def _figure(values: Iterable[tuple[str, float]]) -> Figure:
    each = tuple(values)
    found = [value for _, value in each]
    return Figure(float(np.median(found)), min(found), max(found), each)
