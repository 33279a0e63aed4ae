"""The dry run over a file of bars: what a replay would take of it and what not.

Belongs here: ``validate_file`` and its report. Stays out: how rows are read (``tables``), showing the report
(``commands``).
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Instrument
from streamlake_assets.sources.mapping import ColumnMapping
from streamlake_assets.sources.rejects import Reject
from streamlake_assets.sources.tables import read_bars


@dataclass(frozen=True, slots=True)
class FileReport:
    """What a dry run over a file found."""

    path: Path
    rows: int
    good: int
    rejects_by_reason: Mapping[str, int]
    instruments: tuple[Instrument, ...]
    first_bar_time: dt.datetime | None
    last_bar_time: dt.datetime | None
    first_rejects: tuple[Reject, ...]

    @property
    def rejected(self) -> int:
        """Number of rejected rows."""
        return self.rows - self.good


def validate_file(path: Path, mapping: ColumnMapping, *, examples: int = 20) -> FileReport:
    """Read a whole file as a replay would, publish nothing, and report.

    Args:
        path: the file.
        mapping: what its columns mean.
        examples: rejected rows to show, the first ones.

    Raises:
        UsageError: the file or its header does not fit the mapping.
    """
    tally = _Tally(examples)
    instruments: set[Instrument] = set()
    first = last = None
    good = 0
    for bar in read_bars(path, mapping, now=lambda: dt.datetime.fromtimestamp(0, UTC), on_reject=tally.add):
        good += 1
        instruments.add(bar.instrument)
        first = bar.bar_time if first is None else min(first, bar.bar_time)
        last = bar.bar_time if last is None else max(last, bar.bar_time)
    return FileReport(
        path=path,
        rows=good + tally.reasons.total(),
        good=good,
        rejects_by_reason=dict(tally.reasons.most_common()),
        instruments=tuple(sorted(instruments)),
        first_bar_time=first,
        last_bar_time=last,
        first_rejects=tuple(tally.kept),
    )


@dataclass(slots=True)
class _Tally:
    examples: int
    reasons: Counter[str] = field(default_factory=Counter)
    kept: list[Reject] = field(default_factory=list)

    def add(self, reject: Reject) -> None:
        self.reasons[reject.reason] += 1
        if len(self.kept) < self.examples:
            self.kept.append(reject)
