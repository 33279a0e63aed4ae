"""Leaks of the code that computes features: whether the future moves a feature, whether a price level shows in one.

Belongs here: the checks that compute features again from changed bars, and what such a check is made of. Stays out:
checks that look at the rows of a training set (``leaks``, which makes all of them), features (``features``).

Each check takes the function that computes features, so that a wrong one can be given to it. It looks at
``INSTRUMENTS`` series at most, drawn by the seed: what leaks is the code, which is the same for all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from streamlake_assets.market.features import LOOKBACK, FeatureMatrix, feature_matrix
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries, from_ordinal
from streamlake_assets.market.targets import Target

CUTS: Final = 3
"""Random dates per instrument at which the future is changed, and at which it is cut off."""
INSTRUMENTS: Final = 12
"""Instruments at most whose features are recomputed."""
ROUNDING: Final = 1e-6
"""Relative size up to which a feature may move when prices change their unit."""
VOLUME_LEAST: Final = 1e5
"""Volumes are multiplied only where none is smaller: a small one is not scale-free in ln(1 + volume)."""
VOLUME_ROUNDING: Final = 1e-2
PRICE_UNITS: Final = (0.003, 700.0)
"""A smaller and a larger unit: a level that is cut at a limit shows in one of the two."""

Compute = Callable[[SessionSeries], FeatureMatrix]
Found = list[str]
_PRICES: Final = ("open", "high", "low", "close")


def the_future_moves_no_feature(
    series: Sequence[SessionSeries], compute: Compute = feature_matrix, *, cuts: int = CUTS, seed: int = 0
) -> Verdict:
    """Judge that no feature, scale or baseline up to a cut moves by one bit when every later bar is another one.

    Args:
        series: any; those too short to have a feature are passed over.
        compute: the code judged.
        cuts: per series.
        seed: of the cuts and of the other future.
    """
    found: Found = []
    tried = 0
    for one, rng in drawn(series, seed):
        before = known_columns(compute(one))
        for cut in some(rng, np.arange(LOOKBACK - 1, len(one) - 1), cuts):
            tried += 1
            after, past = known_columns(compute(_with_another_future(one, cut, rng))), slice(0, cut + 1)
            when = f"when bars after {_date(one, cut)} change"
            found += moved(one, one.sessions[past], _rows(before, past), _rows(after, past), when)
    return verdict_on(found, f"features moved at {tried} cuts before which the future was changed", cuts=tried)


def no_level_shows(
    series: Sequence[SessionSeries], compute: Compute = feature_matrix, *, lookback: int = LOOKBACK, seed: int = 0
) -> Verdict:
    """Judge that features know ratios only: neither a unit of prices or volumes nor a split shows in any of them.

    Four changes, after which features, scales and baselines are what they were but for rounding: all prices in another
    unit; all volumes in another unit; prices halved from some session on with the factor that says so; and a factor
    alone, which may show for ``lookback`` sessions and must not show after them by one bit.

    Args:
        series: any; those too short to have a feature are passed over.
        compute: the code judged.
        lookback: sessions that the features may read.
        seed: of the sessions changed.
    """
    found: Found = []
    tried = volumes = 0
    for one, rng in drawn(series, seed):
        tried += 1
        before = known_columns(compute(one))
        same = (one, one.sessions, before)
        for unit in PRICE_UNITS:
            after = known_columns(compute(_times(one, _PRICES, unit)))
            found += moved(*same, after, f"when prices are times {unit:g}", ROUNDING)
        if np.nanmin(one.volume, initial=np.inf) >= VOLUME_LEAST and not np.isnan(one.volume).all():
            volumes += 1
            after = known_columns(compute(_times(one, ("volume",), 1e3)))
            found += moved(*same, after, "when volumes are times 1000", VOLUME_ROUNDING)
        at = int(rng.integers(1, max(len(one) - lookback, 2)))
        later = np.arange(len(one)) >= at
        action = np.where(np.arange(len(one)) == at, 0.5, 1.0)
        split = replace(_times(one, _PRICES, np.where(later, 0.5, 1.0)), factor=one.factor * action)
        found += moved(*same, known_columns(compute(split)), f"when there is a split on {_date(one, at)}", ROUNDING)
        after, rest = known_columns(compute(replace(one, factor=one.factor * action))), slice(at + lookback, None)
        when = f"after a factor on {_date(one, at)}, more than {lookback} sessions before"
        found += moved(one, one.sessions[rest], _rows(before, rest), _rows(after, rest), when)
    return verdict_on(
        found, f"features of {tried} instruments show a level", instruments=tried, volumes_in_another_unit=volumes
    )


def verdict_on(found: Found, what: str, **facts: Any) -> Verdict:
    """Return the verdict on leaks of one kind: none is allowed."""
    text = f"{len(found)} {what}" + (f", first: {found[0]}" if found else "")
    return Verdict(not found, text, {"leaks": len(found), "first": found[:5], "limit": 0, **facts})


def drawn(series: Sequence[SessionSeries], seed: int) -> Iterator[tuple[SessionSeries, np.random.Generator]]:
    """Yield the series that are recomputed, each with its own source of chance."""
    able = sorted((one for one in series if len(one) > LOOKBACK), key=lambda one: str(one.instrument))
    chosen = np.random.default_rng(seed).permutation(len(able))[:INSTRUMENTS]
    for place in sorted(chosen.tolist()):
        yield able[place], np.random.default_rng([seed, place])


def some(rng: np.random.Generator, of: IntArray, count: int) -> list[int]:
    """Return so many of them, or all, none twice."""
    return [int(one) for one in rng.choice(of, min(count, len(of)), replace=False)] if count > 0 else []


def known_columns(rows: FeatureMatrix | TrainingFrame) -> dict[str, FloatArray]:
    """Return every column that a row says about the past, by name."""
    columns = {name: rows.x[:, place] for place, name in enumerate(rows.names)}
    for what, group in (("scale", rows.scale), ("baseline", rows.baseline)):
        columns |= {f"{what} of {target}": group[target] for target in Target}
    return columns


def moved(
    one: SessionSeries,
    sessions: IntArray,
    before: Mapping[str, FloatArray],
    after: Mapping[str, FloatArray],
    when: str,
    rounding: float = 0.0,
) -> Found:
    """Say which columns differ on the sessions given, each with the first session where it does."""
    found = []
    for name, values in before.items():
        was, now = values, after[name]
        same = (was == now) | (np.isnan(was) & np.isnan(now))
        if rounding:
            same |= np.abs(was - now) <= rounding * (1.0 + np.abs(was))
        if not same.all():
            found.append(f"{name} of {one.instrument} on {from_ordinal(sessions[int(np.argmin(same))])} {when}")
    return found


def _rows(columns: Mapping[str, FloatArray], rows: slice) -> dict[str, FloatArray]:
    return {name: values[rows] for name, values in columns.items()}


def _with_another_future(one: SessionSeries, cut: int, rng: np.random.Generator) -> SessionSeries:
    """Return the series with other bars after row ``cut``: valid ones, of other prices, ranges, volumes and factors."""
    later = np.arange(len(one)) > cut

    def noise(size: float) -> FloatArray:
        return np.exp(np.where(later, rng.normal(0, size, len(one)), 0.0))

    level, wider = noise(0.5), np.maximum(noise(0.1), 1.0)
    changed = _times(_times(_times(one, _PRICES, level), ("high",), wider), ("low",), 1.0 / wider)
    return replace(_times(changed, ("volume",), noise(0.5)), factor=one.factor * noise(0.3))


def _times(one: SessionSeries, columns: Sequence[str], by: FloatArray | float) -> SessionSeries:
    return replace(one, **{name: getattr(one, name) * by for name in columns})


def _date(one: SessionSeries, row: int) -> str:
    return str(from_ordinal(one.sessions[row]))
