"""The gate: which model of a target may speak, decided anew every day without losing its error rate by looking.

Belongs here: the evidence that a spec has skill, how a date adds to it, the rules of promotion and rollback. Stays out:
where evidence and champions are kept (``stores``), errors over all rows and their bootstrap interval (``skill``).

The evidence is an e-process: a bettor stakes, before each date, a small share of its wealth on the spec beating the
baseline that date. Without skill the wealth cannot be expected to grow, so it ever reaches 1 / alpha with probability
alpha at most, however often one looks (Ville, 1939; Waudby-Smith and Ramdas, 2024, for bounded means; Choe and Ramdas,
2023, for forecasters). Assumptions and what they cost stand in ``docs/decisions/0011-sequential-gate.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, inf, log
from typing import Any

import msgspec
import numpy as np

from streamlake_assets.errors import IntegrityError, UsageError
from streamlake_assets.market.series import FloatArray, IntArray

ALPHA = 0.05
"""Probability, at most, that a target ever gets a champion without skill between two decays."""
BETS = 0.1 * 0.5 ** np.arange(4)
"""Shares of wealth staked per unit of scaled difference. Each starts with a quarter of the wealth: a grid by halves
costs little and needs no guess how strong a signal is. A signal that wants a smaller bet needs a lifetime of dates."""
GAIN_LIMIT = 4.0
"""A date's gain counts up to so many scales; cutting gains can only take evidence away."""
LEAST_LEFT = 0.01
"""A date's loss counts in full until this share of a bet's wealth is left: 9.9 scales at the largest bet."""
WARM_UP = 21
"""Dates that only measure the scale, before the first bet."""
SCALE_DECAY = 0.99
DECAY_DATES = 1000.0
"""Dates between two false alarms of decay, at least, on average, for a spec that is never worse than the baseline."""
MARGIN = 0.01
"""Skill by which a challenger must be shown not to lie below the champion."""
LEAST_GAIN = 0.001
"""Skill by which a challenger must lie above the champion: equal models do not take turns."""


@dataclass(frozen=True, eq=False)
class DateLosses:
    """Mean squared error per date, over the instruments of the date, in squared model units (error / trailing scale).

    ``sessions`` are days since 1970-01-01, strictly increasing; all arrays have the same length n and are finite.

    Raises:
        UsageError: otherwise.
    """

    sessions: IntArray
    model: FloatArray
    baseline: FloatArray

    def __post_init__(self) -> None:
        if not self.sessions.shape == self.model.shape == self.baseline.shape or self.sessions.ndim != 1:
            raise UsageError("losses need one value per date")
        if np.any(np.diff(self.sessions) <= 0):
            raise UsageError("losses need dates that are strictly increasing: a date counts once")
        if not (np.isfinite(self.model).all() and np.isfinite(self.baseline).all()):
            raise UsageError("losses must be finite: a forecast that is not a number has no loss")

    def __len__(self) -> int:
        return len(self.sessions)

    def rows(self, keep: IntArray | slice) -> "DateLosses":
        """Return some of the dates."""
        return DateLosses(self.sessions[keep], self.model[keep], self.baseline[keep])

    @property
    def difference(self) -> FloatArray:
        """Baseline's loss less model's loss: above zero on the dates the model did better."""
        return self.baseline - self.model

    @property
    def skill(self) -> float:
        """Skill on these dates, in model units; zero where the baseline makes no error."""
        return _skill(float(self.model.sum()), float(self.baseline.sum()))


def date_losses(
    sessions: IntArray, truth: FloatArray, forecast: FloatArray, baseline: FloatArray, scale: FloatArray
) -> DateLosses:
    """Average squared errors per date.

    Args:
        sessions: date of every row, any order.
        truth: what came true, in the target's own unit, as ``forecast`` and ``baseline``.
        forecast: what had been forecast out of sample.
        baseline: what the baseline had forecast.
        scale: trailing scale of the row, above zero.

    Raises:
        UsageError: a value is not finite, or a scale is not positive.
    """
    if not (scale > 0).all():
        raise UsageError("losses need positive scales")
    dates, position = np.unique(sessions, return_inverse=True)
    rows = np.bincount(position)

    def mean(made: FloatArray) -> FloatArray:
        return np.bincount(position, weights=((truth - made) / scale) ** 2) / rows

    return DateLosses(dates.astype(np.int64), mean(forecast), mean(baseline))


@dataclass(frozen=True)
class Evidence:
    """What is known of one spec's skill over the baseline after ``dates`` dates; all that is needed to go on.

    ``wealth_logs`` holds the natural logarithm of each bet's wealth, ``decay`` the detector's statistic per bet.
    ``log_peak`` is the highest ``log_e`` since the newest alarm of decay, on ``decayed_on`` (-1: none yet).
    ``second_moment`` is the trailing mean of squared differences, in model units to the fourth.
    """

    dates: int = 0
    last_session: int = -1
    wealth_logs: tuple[float, ...] = (-log(len(BETS)),) * len(BETS)
    decay: tuple[float, ...] = (0.0,) * len(BETS)
    second_moment: float = 0.0
    log_peak: float = 0.0
    decayed_on: int = -1
    model_loss: float = 0.0
    baseline_loss: float = 0.0

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value: of the wealth that betting on the spec has made of 1."""
        return float(np.logaddexp.reduce(self.wealth_logs))

    @property
    def skill(self) -> float:
        """Skill over all dates, in model units."""
        return _skill(self.model_loss, self.baseline_loss)

    @property
    def has_passed(self) -> bool:
        """Whether the spec, looked at alone, has reached 1 / ``ALPHA`` since the last alarm of decay."""
        return self.log_peak >= -log(ALPHA) and self.skill > 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Evidence":
        """Read what ``to_dict`` wrote.

        Raises:
            IntegrityError: a field is missing or of another type, or the number of bets is another.
        """
        try:
            found = msgspec.convert(dict(plain), cls)
        except msgspec.ValidationError as error:
            raise IntegrityError(f"stored evidence cannot be read: {error}") from error
        if set(plain) != set(cls.__dataclass_fields__) or not (len(found.wealth_logs) == len(found.decay) == len(BETS)):
            raise IntegrityError("stored evidence is of another gate: start it anew from its history")
        return found


def update(evidence: Evidence, losses: DateLosses) -> Evidence:
    """Add the dates that are newer than the newest one counted; the others are passed over, so a repeat adds nothing.

    An alarm of decay takes the wealth down to 1 (never up), and the detector starts anew.
    """
    new = losses.rows(slice(int(np.searchsorted(losses.sessions, evidence.last_session, side="right")), None))
    if not len(new):
        return evidence
    wealth, decay = np.array(evidence.wealth_logs), np.array(evidence.decay)
    moment, dates = evidence.second_moment, evidence.dates
    peak, decayed_on = evidence.log_peak, evidence.decayed_on
    model_loss, baseline_loss = evidence.model_loss, evidence.baseline_loss
    for session, own, other in zip(new.sessions.tolist(), new.model.tolist(), new.baseline.tolist(), strict=True):
        model_loss, baseline_loss, difference = model_loss + own, baseline_loss + other, other - own
        scaled = difference / moment**0.5 if dates >= WARM_UP and moment > 0 else 0.0
        wealth = wealth + np.log(_factors(scaled))
        decay = (decay + 1.0) * _factors(-scaled) if dates >= WARM_UP else decay
        log_e = float(np.logaddexp.reduce(wealth))
        if decay.mean() >= DECAY_DATES:
            log_e = peak = min(log_e, 0.0)
            wealth, decay, decayed_on = np.full(len(BETS), log_e - log(len(BETS))), np.zeros(len(BETS)), session
        peak = max(peak, log_e)
        dates += 1
        moment += max(1 / dates, 1 - SCALE_DECAY) * (difference**2 - moment)
    return Evidence(
        dates=dates,
        last_session=int(new.sessions[-1]),
        wealth_logs=tuple(wealth.tolist()),
        decay=tuple(decay.tolist()),
        second_moment=moment,
        log_peak=peak,
        decayed_on=decayed_on,
        model_loss=model_loss,
        baseline_loss=baseline_loss,
    )


def log_e_paths(differences: FloatArray) -> FloatArray:
    """Return the logarithm of the e-value after every date, for many specs at once.

    The same bets as in ``update``, without its detector of decay.

    Args:
        differences: n dates by m specs, baseline's loss minus model's loss.

    Returns:
        n by m.
    """
    wealth = np.full((len(BETS), differences.shape[1]), -log(len(BETS)))
    moment = np.zeros(differences.shape[1])
    paths = np.empty(differences.shape)
    for date, difference in enumerate(differences):
        if date >= WARM_UP:
            scaled = np.divide(difference, np.sqrt(moment), out=np.zeros(len(moment)), where=moment > 0)
            wealth += np.log(_factors(scaled))
        paths[date] = np.logaddexp.reduce(wealth)
        moment += max(1 / (date + 1), 1 - SCALE_DECAY) * (difference**2 - moment)
    return paths


def family_log_e(log_e: FloatArray) -> FloatArray:
    """Adjust e-values for being looked at together, so that any of them may be compared with 1 / alpha.

    Closed testing by averages: the adjusted value is the least mean over the subsets that hold the spec, which is the
    one of itself and some of the smallest others (Vovk and Wang, 2021). Equal values cost nothing, and it is never
    below the Bonferroni value e / m.

    Args:
        log_e: natural logarithms of m e-values, on the first axis.
    """
    ascending = np.sort(log_e, axis=0)
    adjusted = np.array(log_e, dtype=np.float64)
    lowest = np.logaddexp.accumulate(ascending, axis=0)
    for others in range(1, len(log_e)):
        # a spec that is itself among the smallest is not counted twice: the next one takes its place
        within = log_e <= ascending[others - 1]
        total = np.where(within, lowest[others], np.logaddexp(lowest[others - 1], log_e))
        adjusted = np.minimum(adjusted, total - log(others + 1))
    return adjusted


@dataclass(frozen=True, eq=False)
class Challenger:
    """A spec that was ever looked at for the target: name, evidence, and its losses on the dates it has them for."""

    name: str
    evidence: Evidence
    losses: DateLosses


@dataclass(frozen=True)
class GateDecision:
    """Who speaks after this look, and why.

    ``promote`` says that a spec takes over, ``rolled_back`` that the champion lost its place. ``log_e`` is the adjusted
    evidence of whom the reason speaks of, ``threshold`` what it needs; ``skill`` and ``dates`` are the same spec's.
    """

    champion: str
    promote: bool
    rolled_back: bool
    reason: str
    log_e: float
    threshold: float
    skill: float
    dates: int

    @property
    def e_value(self) -> float:
        """The adjusted e-value; infinite beyond what a float can hold."""
        return exp(self.log_e) if self.log_e < 700 else inf


def decide(
    challengers: Sequence[Challenger], champion: str | None, version_zero: str, alpha: float = ALPHA
) -> GateDecision:
    """Decide who speaks for a target.

    1. A spec passes when its adjusted e-value is at least 1 / alpha and its skill is above zero.
    2. The champion stays until an alarm of decay: it then has no evidence left that reached 1 / alpha, and is rolled
       back to version 0, unless another spec passes.
    3. A spec that passes replaces the champion when, on their common dates, its skill is higher by ``LEAST_GAIN`` and
       an e-process against "worse by ``MARGIN`` or more" has reached 1 / alpha. Of several, the one of most skill on
       the dates they have in common.

    A new fit of the champion's own spec needs no decision: the evidence is the spec's.

    Args:
        challengers: every spec ever looked at for the target, the champion's and given-up ones too: the family.
        champion: name of the present champion; None or ``version_zero`` for the baseline.
        version_zero: name of the baseline.
        alpha: probability of a false promotion, at most.

    Raises:
        UsageError: a name twice, version 0 among the challengers, or alpha outside (0, 1).
    """
    names = [c.name for c in challengers]
    if len(set(names)) != len(names) or version_zero in names:
        raise UsageError("every challenger needs its own name, and version 0 is none")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, not {alpha}")
    threshold = -log(alpha)
    adjusted = family_log_e(np.array([c.evidence.log_e for c in challengers]))
    log_e = dict(zip(names, adjusted.tolist(), strict=True))
    passed = [c for c in challengers if log_e[c.name] >= threshold and c.evidence.skill > 0]
    skills = _common_skills([c.losses for c in passed])
    passed = [c for _, c in sorted(zip(skills, passed, strict=True), key=lambda pair: (-pair[0], pair[1].name))]

    def decision(of: Challenger | None, name: str, reason: str, *, promote: bool, rolled_back: bool) -> GateDecision:
        return GateDecision(
            champion=name,
            promote=promote,
            rolled_back=rolled_back,
            reason=reason,
            log_e=log_e[of.name] if of else 0.0,
            threshold=1 / alpha,
            skill=of.evidence.skill if of else 0.0,
            dates=of.evidence.dates if of else 0,
        )

    incumbent = next((c for c in challengers if c.name == champion), None)
    if incumbent and incumbent.evidence.log_peak >= threshold:
        for rival in (c for c in passed if c is not incumbent):
            if _not_worse(rival.losses, incumbent.losses, threshold):
                reason = f"{rival.name} passes ({_figures(rival, log_e)}) and is not worse than {incumbent.name}"
                return decision(rival, rival.name, reason, promote=True, rolled_back=False)
        reason = f"{incumbent.name} stays ({_figures(incumbent, log_e)}): nothing better passes, and no decay"
        return decision(incumbent, incumbent.name, reason, promote=False, rolled_back=False)
    fallen = champion is not None and champion != version_zero
    why = ""
    if incumbent:
        why = f"{incumbent.name} is rolled back: its skill decayed or was never shown; "
    elif fallen:
        why = f"{champion} is rolled back: no evidence is kept of it; "
    if passed:
        best = passed[0]
        return decision(
            best, best.name, f"{why}{best.name} passes ({_figures(best, log_e)})", promote=True, rolled_back=fallen
        )
    best_known = max(challengers, key=lambda c: log_e[c.name], default=None)
    tail = f"; nearest: {best_known.name} ({_figures(best_known, log_e)})" if best_known else ""
    reason = f"{why}nothing passes an e-value of {1 / alpha:.0f}, the baseline speaks{tail}"
    return decision(best_known, version_zero, reason, promote=False, rolled_back=fallen)


def not_worse(challenger: DateLosses, champion: DateLosses, alpha: float = ALPHA) -> bool:
    """Whether a challenger is better by ``LEAST_GAIN`` on the common dates, and shown not to be worse by ``MARGIN``."""
    return _not_worse(challenger, champion, -log(alpha))


def _not_worse(challenger: DateLosses, champion: DateLosses, threshold: float) -> bool:
    _, own, other = np.intersect1d(challenger.sessions, champion.sessions, return_indices=True)
    if not len(own):
        return False
    ours, theirs = challenger.rows(own), champion.rows(other)
    if ours.skill - theirs.skill < LEAST_GAIN:
        return False
    differences = theirs.model - ours.model + MARGIN * ours.baseline
    return bool(log_e_paths(differences[:, None])[-1, 0] >= threshold)


def _common_skills(losses: Sequence[DateLosses]) -> list[float]:
    """Return the skills on the dates that all have; on each one's own dates where they have none in common."""
    if not losses:
        return []
    common = losses[0].sessions
    for other in losses[1:]:
        common = np.intersect1d(common, other.sessions)
    kept = [np.flatnonzero(np.isin(of.sessions, common if len(common) else of.sessions)) for of in losses]
    return [of.rows(rows).skill for of, rows in zip(losses, kept, strict=True)]


def _factors(scaled: float | FloatArray) -> FloatArray:
    """Return by what each bet's wealth is multiplied: bets by the shape of ``scaled``."""
    factors: FloatArray = np.maximum(1.0 + np.multiply.outer(BETS, np.minimum(scaled, GAIN_LIMIT)), LEAST_LEFT)
    return factors


def _skill(model_loss: float, baseline_loss: float) -> float:
    return 1.0 - model_loss / baseline_loss if baseline_loss > 0 else 0.0


def _figures(challenger: Challenger, log_e: Mapping[str, float]) -> str:
    evidence = challenger.evidence
    e_value = exp(min(log_e[challenger.name], 700.0))
    return f"e-value {e_value:.3g} on {evidence.dates} dates, skill {evidence.skill:.4f}"
