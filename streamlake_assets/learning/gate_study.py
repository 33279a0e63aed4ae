"""The proof of the gate: how often it opens for nothing, what it finds, and how soon, on made markets of known truth.

Belongs here: made markets, the pipeline's linear models walked forward over many of them at once, shares with their
intervals. Stays out: the gate itself (``market.gate``), the walk-forward of one frame (``walk_forward``), which a test
holds equal to the one here. Run it: ``python -m streamlake_assets.learning.gate_study --profile full``.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.spec import ModelSpec, linear_spec
from streamlake_assets.learning.walk_forward import walk_forward
from streamlake_assets.market.features import REGISTRY, Derived
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.gate import ALPHA, DateLosses, Evidence, date_losses, family_log_e, log_e_paths, update
from streamlake_assets.market.series import FloatArray, SessionSeries
from streamlake_assets.market.skill import bootstrap_interval
from streamlake_assets.market.targets import Target

VOLATILITY = 0.02
CORRELATION = 0.3
"""Of the returns of two instruments on one date, in every made market."""
LOOKS = 250
HISTORY = 1000
ROWS_AT_ONCE = 600_000


@dataclass(frozen=True)
class _Size:
    walks: int
    rough_walks: int
    edge_walks: int
    naive_walks: int
    power_walks: int
    wide_walks: int
    power_dates: tuple[int, ...]
    wide_dates: tuple[int, ...]
    range_walks: int
    decay_walks: int


SIZES = {
    "quick": _Size(40, 20, 200, 8, 8, 1, (250, 500, 1000), (250, 500), 4, 8),
    "full": _Size(
        2000, 500, 2000, 200, 200, 40, (250, 500, 1000, 2000, 4000, 8000), (250, 500, 1000, 2000, 4000), 200, 200
    ),
}


@dataclass(frozen=True, eq=False)
class Market:
    """Made sessions: adjusted returns and log ranges, each walks by instruments by sessions."""

    returns: FloatArray
    ranges: FloatArray


def share(hits: int, of: int) -> dict[str, float | int]:
    """Return a share with its 95 % interval (Wilson, 1927)."""
    z, p = 1.959964, hits / of
    centre, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = (round(end / (1 + z * z / of), 12) for end in (centre - half, centre + half))
    return {"hits": hits, "of": of, "share": p, "low": low, "high": high}


def return_market(
    rng: np.random.Generator, walks: int, instruments: int, sessions: int, *, ic: float = 0.0, rough: bool = False
) -> Market:
    """Make returns of which the share ``ic`` carries over to the next session; 0 is the random walk.

    ``rough`` gives them clustered volatility and heavy tails (Student's t with 4 degrees of freedom).
    """
    shape = (sessions, walks, instruments)
    shared = rng.normal(size=(sessions, walks, 1))
    noise = math.sqrt(CORRELATION) * shared + math.sqrt(1 - CORRELATION) * rng.normal(size=shape)
    level = np.ones(shape)
    if rough:
        noise *= np.sqrt(2 / rng.chisquare(4, size=(sessions, walks, 1)))
        state = np.zeros((walks, instruments))
        for t in range(sessions):
            state = 0.97 * state + 0.1 * rng.normal(size=(walks, 1))
            level[t] = np.exp(state)
    returns = noise * math.sqrt(1 - ic * ic)
    if ic:
        for t in range(1, sessions):
            returns[t] += ic * returns[t - 1]
    ranges = VOLATILITY * level * np.exp(0.3 * rng.normal(size=shape))
    return Market(*(np.ascontiguousarray(np.moveaxis(a, 0, -1)) for a in (VOLATILITY * level * returns, ranges)))


def range_market(rng: np.random.Generator, walks: int, instruments: int, sessions: int) -> Market:
    """Make log ranges by a heterogeneous autoregression of a session, a week and a month (Corsi, 2009)."""
    noise = np.exp(rng.normal(0, 0.35, (sessions, walks, instruments)) - 0.35**2 / 2)
    ranges = np.ones((sessions, walks, instruments))
    for t in range(22, sessions):
        past = ranges[t - 22 : t]
        ranges[t] = noise[t] * (0.1 + 0.3 * past[-1] + 0.3 * past[-5:].mean(axis=0) + 0.3 * past.mean(axis=0))
    returns = VOLATILITY * rng.normal(size=ranges.shape)
    return Market(*(np.ascontiguousarray(np.moveaxis(a, 0, -1)) for a in (returns, VOLATILITY * ranges)))


def series_of(market: Market, rng: np.random.Generator) -> SessionSeries:
    """Lay all walks and instruments end to end as one series: features look back a fixed number of rows and no more."""
    returns, ranges = market.returns.ravel(), market.ranges.ravel()
    close = 50.0 * np.exp(np.cumsum(returns))
    low = close * np.exp(-ranges * rng.uniform(size=len(ranges)))
    high = low * np.exp(ranges)
    return SessionSeries(
        symbol="MADE",
        exchange="XNYS",
        sessions=np.arange(len(returns), dtype=np.int64),
        open=low,
        high=high,
        low=low,
        close=close,
        volume=1e6 * np.exp(rng.normal(0, 0.3, len(returns))),
        factor=np.ones(len(returns)),
    )


def walk_forward_losses(market: Market, specs: Sequence[ModelSpec], rng: np.random.Generator) -> list[list[DateLosses]]:
    """Walk least squares forward over every walk of a market, as ``walk_forward`` does over a frame.

    Args:
        market: w walks.
        specs: s linear specs of one target, with one plan and one ``min_history``.
        rng: for volumes and for where in its range a session closes.

    Returns:
        The losses out of fold, s by w.
    """
    first, derived, shape = specs[0], Derived(series_of(market, rng)), market.returns.shape
    wanted = list(dict.fromkeys(name for spec in specs for name in spec.features))

    def known(values: FloatArray) -> FloatArray:
        """Walks by dates by instruments, without the dates that lack history and the last, whose next is unknown."""
        return np.swapaxes(values.reshape(shape)[:, :, first.min_history - 1 : -1], 1, 2)

    is_return = first.target is Target.ADJUSTED_RETURN
    scale = known(derived.volatility if is_return else derived.range_level)
    values = market.returns if is_return else market.ranges
    truth = np.swapaxes(values[:, :, first.min_history :], 1, 2) / scale
    columns = np.stack([np.ones(truth.shape), *(known(REGISTRY[name].compute(derived)) for name in wanted)], axis=-1)
    baseline = ((truth - first.target.baseline_units) ** 2).mean(axis=2)
    found = []
    for spec in specs:
        x = columns[..., [0, *(1 + wanted.index(name) for name in spec.features)]]
        forecast, start = _forecasts(x, truth, spec), spec.plan.first_train
        loss = ((truth[:, start:] - (forecast if is_return else np.maximum(forecast, 0.0))) ** 2).mean(axis=2)
        dates = np.arange(loss.shape[1], dtype=np.int64)
        found.append([DateLosses(dates, *pair) for pair in zip(loss, baseline[:, start:], strict=True)])
    return found


def _forecasts(x: FloatArray, y: FloatArray, spec: ModelSpec) -> FloatArray:
    """Return the forecasts of every date after the first training window, by running sums of the normal equations."""
    walks, dates, instruments, width = x.shape
    gram, moment, done = np.zeros((walks, width, width)), np.zeros((walks, width, 1)), 0
    parts = []
    for start in range(spec.plan.first_train, dates, spec.plan.step):
        until = min(start - spec.plan.embargo, start - 1)  # the label of date p is known on date p + 1
        rows = x[:, done:until].reshape(walks, -1, width)
        turned = np.swapaxes(rows, 1, 2)
        gram += turned @ rows
        moment += turned @ y[:, done:until].reshape(walks, -1, 1)
        done = until
        tested = x[:, start : start + spec.plan.step]
        made = tested.reshape(walks, -1, width) @ np.linalg.solve(gram, moment)
        parts.append(made.reshape(walks, tested.shape[1], instruments))
    return np.concatenate(parts, axis=1)


def _chunks(walks: int, rows_each: int) -> list[int]:
    size = max(1, ROWS_AT_ONCE // rows_each)
    return [min(size, walks - done) for done in range(0, walks, size)]


def _sessions(spec: ModelSpec, dates: int) -> int:
    return spec.min_history + spec.plan.first_train + dates


def family_of(spec: ModelSpec) -> list[ModelSpec]:
    """Return three specs that are looked at together: all features, the returns among them, yesterday's return."""
    returns = tuple(name for name in spec.features if name.startswith("return"))
    return [spec, *(msgspec.structs.replace(spec, features=chosen) for chosen in (returns, ("return_1",)))]


def false_promotions(
    rng: np.random.Generator, walks: int, naive_walks: int, every: int, *, rough: bool
) -> dict[str, Any]:
    """Count random walks of five instruments on which any of three specs is promoted, at any look.

    On the first ``naive_walks`` of them, the interval of fixed size is looked at for the first spec alone.
    """
    spec, threshold = linear_spec(Target.ADJUSTED_RETURN, "sklearn"), -math.log(ALPHA)
    sessions = _sessions(spec, HISTORY + LOOKS)
    live = ever = 0
    first: list[DateLosses] = []
    for count in _chunks(walks, 5 * sessions):
        losses = walk_forward_losses(return_market(rng, count, 5, sessions, rough=rough), family_of(spec), rng)
        first += losses[0]
        paths = np.stack(
            [log_e_paths(np.column_stack([of.difference for of in spec_losses])) for spec_losses in losses]
        )
        best = family_log_e(paths).max(axis=0)
        live += int((best[HISTORY:] >= threshold).any(axis=0).sum())
        ever += int((best >= threshold).any(axis=0).sum())
    model = np.column_stack([of.model for of in first[:naive_walks]])
    baseline = np.column_stack([of.baseline for of in first[:naive_walks]])
    return {
        "in_250_daily_looks": share(live, walks),
        "in_1250_daily_looks": share(ever, walks),
        "interval_in_250_daily_looks": _naive(model, baseline, range(HISTORY, HISTORY + LOOKS, every)),
        "mean_skill": float(np.mean([of.skill for of in first])),
    }


def edge_losses(rng: np.random.Generator, noise: str, walks: int, dates: int) -> tuple[FloatArray, FloatArray]:
    """Make losses, dates by walks, of a forecast whose skill is exactly zero: it says twice what there is to know.

    That is the edge of "no skill", where a test errs most. ``noise`` is normal, heavy (Student's t with 3 degrees of
    freedom), or crash (rare large moves against the forecast).
    """
    shape = (dates, walks)
    forecast = 0.1 * rng.normal(size=shape)
    if noise == "normal":
        moves = rng.normal(size=shape)
    elif noise == "heavy":
        moves = rng.standard_t(3, size=shape) / math.sqrt(3)
    else:
        drawn = rng.lognormal(0, 1, size=shape)
        moves = -np.sign(forecast) * (drawn - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)
    truth = forecast / 2 + moves
    return (truth - forecast) ** 2, truth**2


def at_the_edge(rng: np.random.Generator, noise: str, walks: int, naive_walks: int, every: int) -> dict[str, Any]:
    """Compare the gate with an interval of fixed sample size that is looked at daily, where skill is exactly zero."""
    model, baseline = edge_losses(rng, noise, walks, HISTORY + LOOKS)
    passed = log_e_paths(baseline - model) >= -math.log(ALPHA)
    fewer = model[:, :naive_walks], baseline[:, :naive_walks]
    return {
        "gate_in_250_daily_looks": share(int(passed[HISTORY:].any(axis=0).sum()), walks),
        "gate_in_1250_daily_looks": share(int(passed.any(axis=0).sum()), walks),
        "alpha_spending_in_1250_daily_looks": share(int(spending_crossed(baseline - model)[-1].sum()), walks),
        "interval_once": _naive(*fewer, [HISTORY]),
        "interval_in_250_daily_looks": _naive(*fewer, range(HISTORY, HISTORY + LOOKS, every)),
        "interval_looked_at_every_21_dates_from_the_start": _naive(*fewer, range(63, HISTORY + LOOKS, 21)),
    }


def _naive(model: FloatArray, baseline: FloatArray, looks: Sequence[int]) -> dict[str, float | int]:
    """Count walks on which the lower end of the bootstrap interval is ever above zero at one of the looks."""
    hits = 0
    for own, other in zip(model.T, baseline.T, strict=True):
        hits += any(bootstrap_interval(own[:n], other[:n], seed=n, replicates=400)[0] > 0 for n in looks)
    return share(hits, model.shape[1])


def spending_crossed(differences: FloatArray) -> FloatArray:
    """Tell by when alpha spending would have let a spec pass: True from its first crossing on, dates by specs.

    The O'Brien-Fleming bound under continuous looks (Lan and DeMets, 1983): the normal score at share t of a horizon
    fixed beforehand, here all dates given, against 1.96 / sqrt(t), which is 5 % one-sided. Not before 63 dates.
    """
    count = np.arange(1, len(differences) + 1)[:, None]
    spread = np.maximum(np.sqrt(np.cumsum(differences**2, axis=0)), np.finfo(float).tiny)
    crossed = np.cumsum(differences, axis=0) / spread >= 1.959964 / np.sqrt(count / len(differences))
    crossed[:63] = False
    return np.logical_or.accumulate(crossed, axis=0)


def power(
    rng: np.random.Generator, ic: float, walks: int, instruments: int, checkpoints: Sequence[int]
) -> dict[str, Any]:
    """Count made markets in which the pipeline's linear model passes by so many dates; it is the only challenger."""
    spec = linear_spec(Target.ADJUSTED_RETURN, "sklearn")
    return _found(rng, spec, walks, instruments, checkpoints, lambda *size: return_market(rng, *size, ic=ic))


def range_power(rng: np.random.Generator, walks: int, checkpoints: Sequence[int]) -> dict[str, Any]:
    """Do the same for the log range, whose truth the linear model can express and the baseline cannot."""
    spec = linear_spec(Target.LOG_RANGE, "sklearn")
    return _found(rng, spec, walks, 5, checkpoints, lambda *size: range_market(rng, *size))


def _found(
    rng: np.random.Generator, spec: ModelSpec, walks: int, instruments: int, checkpoints: Sequence[int], make: Any
) -> dict[str, Any]:
    sessions = _sessions(spec, checkpoints[-1])
    hits, spent, skills = dict.fromkeys(checkpoints, 0), dict.fromkeys(checkpoints, 0), []
    for count in _chunks(walks, instruments * sessions):
        (losses,) = walk_forward_losses(make(count, instruments, sessions), [spec], rng)
        differences = np.column_stack([of.difference for of in losses])
        paths, crossed = log_e_paths(differences), spending_crossed(differences)
        skills += [of.skill for of in losses]
        for dates in checkpoints:
            hits[dates] += int((paths[:dates] >= -math.log(ALPHA)).any(axis=0).sum())
            spent[dates] += int(crossed[dates - 1].sum())
    return {
        "by_dates": {str(dates): share(found, walks) for dates, found in hits.items()},
        "by_dates_alpha_spending": {str(dates): share(found, walks) for dates, found in spent.items()},
        "mean_skill": float(np.mean(skills)),
    }


def decay_delay(rng: np.random.Generator, before: float, after: float, walks: int) -> dict[str, Any]:
    """Change a skill after 1,000 dates and count the dates until the alarm, for 1,000 dates more.

    Args:
        rng: source of randomness.
        before: mean over standard deviation of a date's difference in the first 1,000 dates.
        after: the same in the next.
        walks: number of made histories.
    """
    delays, early = [], 0
    dates = np.arange(2000, dtype=np.int64)
    for _ in range(walks):
        difference = rng.normal(size=2000) + np.where(dates < 1000, before, after)
        losses = DateLosses(dates, 10.0 - difference, np.full(2000, 10.0))
        evidence = update(Evidence(), losses.rows(slice(0, 1000)))
        early += evidence.decayed_on >= 0
        for stop in range(1010, 2001, 10):
            evidence = update(evidence, losses.rows(slice(stop - 10, stop)))
            if evidence.decayed_on > 999:
                delays.append(evidence.decayed_on - 999)
                break
    return {
        "alarm_in_the_first_1000_dates": share(early, walks),
        "alarm_in_the_next_1000_dates": share(len(delays), walks),
        "median_dates_until_it": float(np.median(delays)) if delays else None,
    }


def frame_evidence(frame: TrainingFrame, specs: Sequence[ModelSpec]) -> dict[str, Any]:
    """Return what the gate says of specs on a real frame: e-value, the first date it was passed, skill."""
    report = {}
    for spec in specs:
        made = walk_forward(spec, engine(spec.engine), frame)
        t, rows = spec.target, made.rows
        losses = date_losses(
            frame.sessions[rows], frame.y[t][rows], made.forecast, frame.baseline[t][rows], frame.scale[t][rows]
        )
        evidence = update(Evidence(), losses)
        path = log_e_paths(losses.difference[:, None])[:, 0]
        passed = np.flatnonzero(path >= -math.log(ALPHA))
        report[f"{spec.name}|{spec.engine}"] = {
            "dates": evidence.dates,
            "skill_in_model_units": evidence.skill,
            "log_e": evidence.log_e,
            "log_e_by_dates": {str(n): float(path[n - 1]) for n in range(500, len(path) + 1, 500)},
            "first_passed_after_dates": int(passed[0]) + 1 if len(passed) else None,
            "decay_alarm": evidence.decayed_on >= 0,
        }
    return report


def run_study(profile: Literal["quick", "full"], seed: int = 0) -> dict[str, Any]:
    """Run every part with its own stream of randomness; plain values, ready for JSON."""
    size, started, every = SIZES[profile], time.monotonic(), 1 if profile == "full" else 25
    streams, ics = iter(np.random.default_rng(seed).spawn(32)), (0.02, 0.05, 0.1)
    return {
        "profile": profile,
        "seed": seed,
        "alpha": ALPHA,
        "random_walks": false_promotions(next(streams), size.walks, size.naive_walks, every, rough=False),
        "rough_random_walks": false_promotions(next(streams), size.rough_walks, size.naive_walks, every, rough=True),
        "edge": {
            noise: at_the_edge(next(streams), noise, size.edge_walks, size.naive_walks, every)
            for noise in ("normal", "heavy", "crash")
        },
        "power_5_instruments": {str(ic): power(next(streams), ic, size.power_walks, 5, size.power_dates) for ic in ics},
        "power_50_instruments": {str(ic): power(next(streams), ic, size.wide_walks, 50, size.wide_dates) for ic in ics},
        "planted_range": range_power(next(streams), size.range_walks, size.wide_dates),
        "decay": {
            f"{before} to {after}": decay_delay(next(streams), before, after, size.decay_walks)
            for before, after in ((0.13, 0.0), (0.13, -0.05), (0.13, -0.13), (0.05, -0.13))
        },
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prove the gate on made markets.")
    parser.add_argument("--profile", choices=sorted(SIZES), default="quick")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    sys.stdout.write(json.dumps(run_study(chosen.profile, chosen.seed), indent=1) + "\n")
