"""Training frames: rows of many instruments pooled, sorted by date, complete.

Belongs here: pooling, dropping of incomplete rows, the canonical order. Stays out: features themselves (``features``),
files (``learning.snapshot``), splits (``skill``).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.features import LOOKBACK, REGISTRY, feature_matrix
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries, from_ordinal
from streamlake_assets.market.targets import Target


@dataclass(frozen=True, eq=False)
class TrainingFrame:
    """Complete rows (instrument, session), sorted by (session, instrument); n rows, k features, all values finite.

    ``instrument`` indexes ``instruments`` ("SYMBOL|EXCHANGE", sorted). A row is known after ``sessions`` settled and
    its targets come true in ``target_sessions``. ``y``, ``scale`` and ``baseline`` are in the target's own unit.
    """

    instruments: tuple[str, ...]
    names: tuple[str, ...]
    instrument: IntArray
    sessions: IntArray
    target_sessions: IntArray
    x: FloatArray
    y: dict[Target, FloatArray]
    scale: dict[Target, FloatArray]
    baseline: dict[Target, FloatArray]

    def __len__(self) -> int:
        return len(self.sessions)

    def columns(self, names: Sequence[str]) -> FloatArray:
        """Return the named features, n by len(names), as one contiguous array.

        Raises:
            UsageError: a feature the frame does not hold.
        """
        return select_columns(self.x, self.names, names)

    @property
    def first_session(self) -> dt.date:
        """Session after which the oldest row was known."""
        return from_ordinal(self.sessions[0])

    @property
    def last_session(self) -> dt.date:
        """Newest session any row has learned from: the newest target session."""
        return from_ordinal(self.target_sessions.max())


def select_columns(x: FloatArray, held: Sequence[str], wanted: Sequence[str]) -> FloatArray:
    """Return the ``wanted`` columns of ``x``, whose columns are named by ``held``.

    Raises:
        UsageError: a wanted feature is not held.
    """
    unknown = sorted(set(wanted) - set(held))
    if unknown:
        raise UsageError(f"unknown features {', '.join(unknown)}; there are {', '.join(held)}")
    return np.ascontiguousarray(x[:, [list(held).index(name) for name in wanted]])


def training_frame(series: Sequence[SessionSeries], until: dt.date | None, min_history: int) -> TrainingFrame:
    """Pool all instruments into one frame.

    A row needs ``min_history`` sessions up to and including its own, and a settled next session: the same rule decides
    whether an instrument is forecast. Rows with an undefined feature, scale or target are dropped; the order of
    ``series`` does not matter.

    Args:
        series: one series per instrument.
        until: newest session to learn from, features and targets alike; None for all.
        min_history: sessions an instrument needs; the longest lookback of a feature is the least.

    Raises:
        UsageError: an instrument twice, or no complete row at all.
    """
    ordered = sorted(series, key=lambda s: str(s.instrument))
    instruments = tuple(str(s.instrument) for s in ordered)
    if len(set(instruments)) != len(instruments):
        raise UsageError("an instrument appears twice among the series: its rows would be on both sides of a split")
    parts = [feature_matrix(s.until(until)) for s in ordered]
    first_row = max(min_history, LOOKBACK) - 1
    keep = []
    for part in parts:
        values = [part.x, *(group[t][:, None] for group in (part.y, part.scale) for t in Target)]
        complete = np.isfinite(np.column_stack(values)).all(axis=1) & (part.target_sessions >= 0)
        complete[:first_row] = False
        keep.append(complete)
    counts = [int(k.sum()) for k in keep]
    if not sum(counts):
        raise UsageError(
            f"no instrument has more than {first_row + 1} settled sessions with prices: nothing to train on"
        )

    sessions = np.concatenate([p.sessions[k] for p, k in zip(parts, keep, strict=True)])
    instrument = np.repeat(np.arange(len(parts), dtype=np.int64), counts)
    order = np.lexsort((instrument, sessions))

    def pooled(group: str, target: Target) -> FloatArray:
        values = [getattr(p, group)[target][k] for p, k in zip(parts, keep, strict=True)]
        joined: FloatArray = np.concatenate(values)[order]
        return joined

    return TrainingFrame(
        instruments=instruments,
        names=tuple(REGISTRY),
        instrument=instrument[order],
        sessions=sessions[order],
        target_sessions=np.concatenate([p.target_sessions[k] for p, k in zip(parts, keep, strict=True)])[order],
        x=np.concatenate([p.x[k] for p, k in zip(parts, keep, strict=True)])[order],
        y={t: pooled("y", t) for t in Target},
        scale={t: pooled("scale", t) for t in Target},
        baseline={t: pooled("baseline", t) for t in Target},
    )
