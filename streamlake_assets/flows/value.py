"""The value statement: what out-of-fold forecasts would have been worth in money, for both targets.

Belongs here: forecasts to decisions, decisions to the figures of the report, its sentence in plain words. Stays out:
the money itself (``market.backtest``, ``market.luck``), sizes (``market.risk_signals``), how the report is shown and
checked (``value_page``).

Everything is computed from forecasts of a walk-forward, each made from sessions before its own. A target without skill
is computed too, so that it can be judged, and is labelled so: it never becomes a signal.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.svg_lines import MOST_POINTS
from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.spec import VERSION_ZERO_PREFIX, ModelSpec, linear_spec
from streamlake_assets.learning.walk_forward import OutOfFold, folds_of, too_few_dates, walk_forward
from streamlake_assets.market import risk_signals
from streamlake_assets.market.backtest import (
    DEFAULT_COSTS,
    Backtest,
    Costs,
    Openings,
    backtest,
    decisions,
    equity,
    hold,
    measure,
    openings,
)
from streamlake_assets.market.forecasts import COVERAGE, Forecast
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.luck import deflated_sharpe, luck
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries, from_ordinal
from streamlake_assets.market.signals import DISCLAIMER, NOT_ACTIONABLE, ROUND_TRIP_COST, Action, action_of
from streamlake_assets.market.skill import conformal_quantile
from streamlake_assets.market.targets import Target

SAMPLE: Final = 20
"""Executions written into the report, so that a check can find them again in the documents."""
HOLD: Final = "hold"
AS_SHOWN: Final = "signals as shown"
BY_MODEL: Final = "size by the model"
BY_BASELINE: Final = "size by the EWMA"
CONSTANT: Final = "constant size"
LUCK_LIMIT: Final = 0.05
"""Share of random draws as good, above which the result of the only rule tried is called chance."""
_LEAST_RESIDUALS: Final = 30
_LEAST_CAPITAL: Final = 1e-4
"""Below it the curve of a capital that was lost is drawn at this height: zero has no logarithm."""
_POSITION: Final = {Action.BUY: 1.0, Action.SELL: -1.0, Action.HOLD: np.nan}


class Judged(NamedTuple):
    """Out-of-fold forecasts of one spec with what is needed to act on them; arrays have one value a row."""

    spec: ModelSpec
    out_of_fold: OutOfFold
    instrument: IntArray
    after: IntArray
    executed: IntArray
    truth: FloatArray
    baseline: FloatArray
    half_width: FloatArray


def value_report(
    series: Sequence[SessionSeries],
    champions: Mapping[Target, str],
    newest: Sequence[Forecast] = (),
    *,
    until: dt.date | None = None,
    min_history: int = 63,
    costs: Costs = DEFAULT_COSTS,
) -> dict[str, Any]:
    """Walk the default linear model of each target forward and count what acting on its forecasts comes to.

    Args:
        series: settled sessions of each instrument.
        champions: version that speaks for each target; of a target that is not named nothing is actionable.
        newest: open forecasts of the ledger, for the risk signals of the next session.
        until: newest session to use; None for all.
        min_history: sessions an instrument needs.
        costs: fees and slippage.

    Returns:
        Plain values. A target with too few dates is left out, with its reason.

    Raises:
        UsageError: no instrument has enough history.
    """
    known = [one.until(until) for one in series]
    frame = training_frame(known, None, min_history)
    sections, reasons = {}, []
    for target in Target:
        spec = linear_spec(target, "sklearn", min_history=min_history)
        reason = too_few_dates(spec, frame)
        if reason:
            reasons.append(reason)
        else:
            sections[target.value] = _section(frame, known, judge(spec, frame), champions.get(target, ""), costs)
    risk = risk_signals.risk_signals_from(newest)
    report = {
        "instruments": list(frame.instruments),
        "last_session": frame.last_session.isoformat(),
        "costs": costs._asdict(),
        "sections": sections,
        "reasons": reasons,
        "risk_signals": [msgspec.to_builtins(signal) for signal in risk.signals],
        "risk_reason": risk.reason,
        "disclaimer": DISCLAIMER,
    }
    return {**report, "summary": summary(report)}


def judge(spec: ModelSpec, frame: TrainingFrame) -> Judged:
    """Walk a spec forward; the half width of each row's interval comes from folds whose truth was known before it.

    Raises:
        UsageError: too few dates.
    """
    found = walk_forward(spec, engine(spec.engine), frame)
    rows, scale = found.rows, frame.scale[spec.target][found.rows]
    truth, due = frame.y[spec.target][rows], frame.target_sessions[rows]
    residuals, half_width = (truth - found.forecast) / scale, np.full(len(rows), np.inf)
    for fold in folds_of(spec, frame):
        before = residuals[due < frame.sessions[fold.test].min()]
        if len(before) >= _LEAST_RESIDUALS:
            tested = np.searchsorted(rows, fold.test)
            half_width[tested] = conformal_quantile(before, COVERAGE) * scale[tested]
    return Judged(
        spec, found, frame.instrument[rows], frame.sessions[rows], due, truth, frame.baseline[spec.target][rows],
        half_width,
    )  # fmt: skip


def return_rules(judged: Judged, cost: float = ROUND_TRIP_COST) -> dict[str, FloatArray]:
    """Return the positions of each rule on forecasts of the return, one a row; NaN keeps the position.

    "signals as shown" is the rule of ``market.signals``: it acts when the whole interval clears the cost.
    """
    forecast = judged.out_of_fold.forecast
    bounds = zip(forecast - judged.half_width, forecast + judged.half_width, strict=True)
    shown = np.array([_POSITION[action_of(low, high, cost)] for low, high in bounds])
    _, first = np.unique(judged.instrument, return_index=True)
    shown[first] = np.nan_to_num(shown[first])
    return {
        AS_SHOWN: shown,
        "long or flat": np.where(forecast > 0, 1.0, 0.0),
        "long or short": np.sign(forecast),
    }


def range_sizes(judged: Judged) -> dict[str, FloatArray]:
    """Return the sizes by each forecast of the range, one a row, all without leverage.

    The constant of an instrument is the mean of the model's own sizes, known only afterwards: that favours it.
    """
    model = risk_signals.position_size(judged.out_of_fold.forecast)
    mean = np.bincount(judged.instrument, weights=model) / np.maximum(np.bincount(judged.instrument), 1)
    return {
        BY_MODEL: model,
        BY_BASELINE: risk_signals.position_size(judged.baseline),
        CONSTANT: mean[judged.instrument],
    }


def _section(
    frame: TrainingFrame, series: Sequence[SessionSeries], judged: Judged, champion: str, costs: Costs
) -> dict[str, Any]:
    market = openings(series, int(judged.executed.min()))
    if market.instruments != frame.instruments:
        raise UsageError("the frame and the series do not hold the same instruments")
    target, skill = judged.spec.target, judged.out_of_fold.skill
    positions = return_rules(judged) if target.has_direction else range_sizes(judged)
    made = {name: decisions(market, judged.instrument, judged.executed, each) for name, each in positions.items()}
    made[HOLD] = hold(made[BY_MODEL] if BY_MODEL in made else made["long or flat"])
    runs = {name: backtest(market, each) for name, each in made.items()}
    trials = [name for name in positions if name != CONSTANT]
    shown = next(name for name in made if name != AS_SHOWN)
    actionable = skill.has_skill and bool(champion) and not champion.startswith(VERSION_ZERO_PREFIX)
    section: dict[str, Any] = {
        "actionable": actionable,
        "label": "" if actionable else NOT_ACTIONABLE,
        "champion": champion,
        "spec": judged.spec.name,
        "skill": skill.skill,
        "skill_low": skill.low,
        "skill_high": skill.high,
        "rows": skill.rows,
        "first_session": from_ordinal(market.dates[0]).isoformat(),
        "last_session": from_ordinal(market.dates[-1]).isoformat(),
        "strategies": [
            _strategy(name, market, made[name], run, costs, len(trials) if name in trials else 0)
            for name, run in runs.items()
        ],
        "curves": _curves(market, runs, costs),
        "sample": _sample(market, runs[shown], judged, judged.spec.seed),
    }
    return section if target.has_direction else {**section, **_risk(judged, positions)}


def _strategy(
    name: str, market: Openings, made: FloatArray, run: Backtest, costs: Costs, trials: int
) -> dict[str, Any]:
    """Return a line of the table; only what was chosen by forecasts (``trials`` above zero) is tested for luck."""
    record: dict[str, Any] = {"name": name, **measure(run, costs)._asdict()}
    record["total_at_double_costs"] = measure(run, costs.times(2)).total
    if trials:
        found = luck(market, made, seed=0)
        record |= {"luck": found.probability, "draws": found.draws}
        record |= {"deflated_sharpe": deflated_sharpe(run.returns(costs), trials), "trials": trials}
    return record


def _risk(judged: Judged, sizes: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Return how good each forecast was as a guide of size, and by how much the model beats the baseline."""
    model, target = judged.out_of_fold.forecast, risk_signals.TARGET_VOLATILITY
    constant = np.bincount(judged.instrument, weights=judged.truth) / np.maximum(np.bincount(judged.instrument), 1)
    forecasts = {BY_MODEL: model, BY_BASELINE: judged.baseline, CONSTANT: constant[judged.instrument]}
    losses = {
        name: {
            "qlike": risk_signals.qlike(judged.truth, forecasts[name]),
            "miss": risk_signals.risk_misses(judged.truth, sizes[name], target),
        }
        for name in forecasts
    }
    better = {
        loss: risk_signals.improvement(
            judged.after, losses[BY_MODEL][loss], losses[BY_BASELINE][loss], seed=judged.spec.seed
        )
        for loss in ("qlike", "miss")
    }
    guides = [
        {"name": name, **risk_signals.risk_quality(judged.truth, forecasts[name], sizes[name], target)._asdict()}
        for name in forecasts
    ]
    return {
        "target_volatility": target,
        "largest_size": risk_signals.LARGEST_SIZE,
        "guides": guides,
        "better_than_baseline": {name: found._asdict() for name, found in better.items()},
    }


def _curves(market: Openings, runs: Mapping[str, Backtest], costs: Costs) -> dict[str, Any]:
    rows = np.unique(np.linspace(0, len(market.dates) - 1, MOST_POINTS).round().astype(np.int64))
    curves = {name: np.maximum(equity(run.returns(costs))[rows], _LEAST_CAPITAL).tolist() for name, run in runs.items()}
    return {"sessions": [from_ordinal(market.dates[row]).isoformat() for row in rows], "capital": curves}


def _sample(market: Openings, run: Backtest, judged: Judged, seed: int) -> list[dict[str, Any]]:
    """Return executions as the money was counted: some at random, and those over the largest corporate actions."""
    rows, columns = np.searchsorted(market.dates, judged.executed), judged.instrument
    usable = np.flatnonzero(rows < len(market.growth))
    usable = usable[market.tradable[rows[usable] + 1, columns[usable]] & market.tradable[rows[usable], columns[usable]]]
    drawn = np.random.default_rng(seed).permutation(usable)[:SAMPLE]
    raw = market.price[rows[usable] + 1, columns[usable]] / market.price[rows[usable], columns[usable]]
    adjusted = np.abs(np.log(market.growth[rows[usable], columns[usable]] / raw))
    largest = usable[np.argsort(-adjusted, kind="stable")[:3]]
    sample = []
    for index in (int(index) for index in np.concatenate([drawn, largest])):
        row, column = int(rows[index]), int(columns[index])
        sample.append(
            {
                "instrument": market.instruments[column],
                "decided_after": from_ordinal(judged.after[index]).isoformat(),
                "executed": from_ordinal(market.dates[row]).isoformat(),
                "price": float(market.price[row, column]),
                "position": float(run.position[row, column]),
                "growth": float(market.growth[row, column]),
            }
        )
    return sample


def has_value(strategy: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Tell whether a rule on direction earned more than hold after costs, and more than its own positions by chance.

    The limit of chance is shared among the rules that were tried (Bonferroni).
    """
    better: bool = strategy["total"] > held["total"] and strategy["luck"] <= LUCK_LIMIT / strategy["trials"]
    return better


def summary(report: Mapping[str, Any]) -> str:
    """Return the report in plain words, the disclaimer included."""
    sections, said = report["sections"], []
    if direction := sections.get(Target.ADJUSTED_RETURN.value):
        said.append(_direction_words(direction, Costs(**report["costs"])))
    if risk := sections.get(Target.LOG_RANGE.value):
        said.append(_risk_words(risk))
    return " ".join((*said, *report["reasons"], DISCLAIMER))


def _direction_words(section: Mapping[str, Any], costs: Costs) -> str:
    rules, held = [each for each in section["strategies"] if each.get("trials")], _named(section, HOLD)
    worth = [each["name"] for each in rules if has_value(each, held)]
    verdict = f"beat hold and chance after costs: {', '.join(worth)}" if worth else "none beats both hold and chance"
    if worth and section["label"]:
        verdict += ", which without skill is no ground to act"
    lines = "; ".join(
        f"{each['name']} {each['annualised']:.1%} a year"
        + (f" (as good at random times: {each['luck']:.0%} of draws" if each["trades"] else " (no trade")
        + (f", breaks even at {each['break_even_bp']:.1f} bp)" if each["break_even_bp"] is not None else ")")
        for each in rules
    )
    paid = costs.fee_bp + costs.slippage_bp
    return (
        f"Direction, {section['label'] or 'actionable'}: at {paid:g} bp of the money traded, {lines}; "
        f"hold {held['annualised']:.1%}; {verdict}."
    )


def _risk_words(section: Mapping[str, Any]) -> str:
    miss = {guide["name"]: guide["miss"] for guide in section["guides"]}
    qlike, better = (section["better_than_baseline"][loss] for loss in ("qlike", "miss"))
    rows = {name: _named(section, name) for name in (BY_MODEL, BY_BASELINE, HOLD)}
    model, average = (rows[name]["sharpe"] or 0.0 for name in (BY_MODEL, BY_BASELINE))
    gain = f"{model - average:+.2f} in the Sharpe ratio, not tested for chance"
    verdict = f"In money the model adds {gain}." if model > average else "In money it adds nothing to the average."
    money = ", ".join(f"{name} {_ratio(row['sharpe'])} and {row['drawdown']:.0%}" for name, row in rows.items())
    return (
        f"Risk, {section['label'] or 'actionable'}: sizes by the model miss the target risk by {miss[BY_MODEL]:.1%} on "
        f"average, by the moving average {miss[BY_BASELINE]:.1%}, at constant size {miss[CONSTANT]:.1%}. The model's "
        f"miss is {_share(better)} smaller than the moving average's, its loss as a forecast of variance (QLIKE) "
        f"{_share(qlike)}. Sharpe ratio after costs and largest fall: {money}. {verdict}"
    )


def _share(found: Mapping[str, float]) -> str:
    return f"{found['share']:.1%} (95 % interval {found['low']:.1%} to {found['high']:.1%})"


def _ratio(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _named(section: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in section["strategies"] if each["name"] == name)
    return found
