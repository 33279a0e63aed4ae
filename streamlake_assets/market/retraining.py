"""The decision to train again: only when it pays, and always with a reason.

Belongs here: the facts it rests on, the rule, what is hoped to be gained and what it costs. Stays out: training
(``learning``), drift of features (``drift``), who may speak (``gate``).
"""

from dataclasses import dataclass

from streamlake_assets.errors import UsageError
from streamlake_assets.market.gate import DateLosses
from streamlake_assets.market.skill import bootstrap_interval

SUSPECT_Z = 1.645
"""Standard errors by which live skill must lie below what was expected to count as a sign of decay, beside drift."""
SURE_Z = 3.5
"""The same without drift: high enough for a look every day."""
MIN_LIVE_DATES = 21
LEAST_GAIN = 0.0005
"""Skill that one minute of training has to bring; a shorter training has to bring as much."""
LEAST_NEW_DATES = 5
"""Dates between two trainings, at least, unless nothing was trained or the spec or the code changed."""


@dataclass(frozen=True)
class SkillDecay:
    """How live skill since the training compares with the skill out of fold before it.

    ``least`` is the lower end of the 95 % interval of ``expected``: only what lies below it is decay. ``z`` is by how
    many standard errors live skill lies below ``least``; zero where they cannot be told. A needless training costs
    seconds, so limits on ``z`` do here; who may speak is decided by the gate's stricter rule.
    """

    dates: int
    expected: float
    least: float
    live: float
    z: float

    @property
    def shortfall(self) -> float:
        """Expected less live skill."""
        return self.expected - self.live

    @property
    def suspected(self) -> bool:
        """A sign of decay: enough dates, and live skill below ``least`` by more than ordinary error."""
        return self.dates >= MIN_LIVE_DATES and self.z >= SUSPECT_Z

    @property
    def sure(self) -> bool:
        """Decay that needs no second sign."""
        return self.dates >= MIN_LIVE_DATES and self.z >= SURE_Z


def skill_decay(losses: DateLosses, history: DateLosses, *, seed: int = 0) -> SkillDecay:
    """Compare the losses since a training with those out of fold.

    Args:
        losses: of the dates since the model was trained.
        history: of the dates before, out of fold.
        seed: of the bootstrap of the expected skill.

    Raises:
        UsageError: a history of fewer than 8 dates.
    """
    least, _ = bootstrap_interval(history.model, history.baseline, seed=seed)
    missing = losses.model - (1.0 - least) * losses.baseline
    z = 0.0
    if len(losses) > 1:
        error = float(missing.std(ddof=1)) / len(losses) ** 0.5
        z = float(missing.mean()) / error if error > 0 else 0.0
    live = losses.skill if len(losses) else history.skill
    return SkillDecay(len(losses), history.skill, least, live, z)


@dataclass(frozen=True)
class RetrainFacts:
    """What the decision rests on.

    Attributes:
        trained: whether a model of the spec exists.
        changed: what changed since in spec or code, in words; empty for nothing.
        new_dates: settled dates since the newest one learned from.
        train_rows: rows the model learned from.
        new_rows: complete rows since.
        parameters: coefficients of a linear model, intercept included; None where a model has no such number.
        drifted: features above their limit twice in a row (``drift.DriftReport.drifted``).
        decay: live skill against the expected one; None where nothing was scored yet.
        max_age_dates: dates after which a model is trained anew whatever else is known; the step of the walk-forward
            that judged the spec, because the evidence speaks of models no older than that. None for no such age.
        training_seconds: what the last training took; None where there was none.
    """

    trained: bool
    changed: str = ""
    new_dates: int = 0
    train_rows: int = 0
    new_rows: int = 0
    parameters: int | None = None
    drifted: tuple[str, ...] = ()
    decay: SkillDecay | None = None
    max_age_dates: int | None = None
    training_seconds: float | None = None

    def __post_init__(self) -> None:
        if min(self.new_dates, self.train_rows, self.new_rows) < 0 or (self.trained and not self.train_rows):
            raise UsageError("counts of dates and rows cannot be negative, and a trained model has rows")


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train again, why, and what it is hoped to bring (skill) for what it costs (seconds, as last time)."""

    retrain: bool
    reason: str
    expected_gain: float | None
    compute_cost_s: float | None
    facts: RetrainFacts


def learning_gain(parameters: int, train_rows: int, new_rows: int) -> float:
    """Return the skill that more rows bring to least squares: p / n less p / (n + m).

    The excess error of p fitted coefficients is p / n of the noise, if rows are independent and nothing changed.
    """
    return parameters / train_rows - parameters / (train_rows + new_rows)


def decide_retraining(facts: RetrainFacts) -> RetrainDecision:
    """Decide whether training again pays; the first rule that applies gives the reason.

    1. Never trained, or spec or code changed: yes.
    2. Fewer than ``LEAST_NEW_DATES`` new dates: no.
    3. Skill surely decayed, or features drifted while decay is suspected: yes, if the missing skill is worth the
       computing. What is missing is the most that can be regained.
    4. As old as the models that were judged: yes.
    5. More rows bring a linear model enough skill (``learning_gain``): yes.
    6. Else no. Drift alone, without loss of skill, is no reason.
    """
    price = LEAST_GAIN * max(1.0, (facts.training_seconds or 0.0) / 60)
    if not facts.trained:
        return _decision(facts, True, "never trained")
    if facts.changed:
        return _decision(facts, True, f"changed: {facts.changed}")
    if facts.new_dates < LEAST_NEW_DATES:
        return _decision(facts, False, f"{facts.new_dates} new dates, at least {LEAST_NEW_DATES} are needed")
    drift, decay = f"drift of {', '.join(facts.drifted)}" if facts.drifted else "", facts.decay
    if decay and (decay.sure or (drift and decay.suspected)) and decay.shortfall >= price:
        lost = f"live skill {decay.live:.4f} on {decay.dates} dates, expected {decay.expected:.4f}"
        reason = "; ".join(part for part in (f"skill decayed: {lost}", drift) if part)
        return _decision(facts, True, reason, decay.shortfall)
    return _by_age_and_rows(facts, price, f"{drift} without loss of skill" if drift else "no drift, no decay")


def _by_age_and_rows(facts: RetrainFacts, price: float, calm: str) -> RetrainDecision:
    gain = None if facts.parameters is None else learning_gain(facts.parameters, facts.train_rows, facts.new_rows)
    if facts.max_age_dates is not None and facts.new_dates >= facts.max_age_dates:
        return _decision(facts, True, f"{facts.new_dates} dates old, judged up to {facts.max_age_dates}", gain)
    if gain is not None and gain >= price:
        return _decision(facts, True, f"{facts.new_rows} more rows on {facts.train_rows} should pay", gain)
    return _decision(facts, False, f"does not pay: {facts.new_dates} new dates, {calm}", gain)


def _decision(facts: RetrainFacts, retrain: bool, reason: str, gain: float | None = None) -> RetrainDecision:
    return RetrainDecision(retrain, reason, gain, facts.training_seconds, facts)
