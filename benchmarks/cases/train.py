"""The same model on three engines: training time, memory, effort, accuracy, crossovers, a verdict.

No server takes part. The rows measured are made; the certificate that comes first is on the real bars of the data set.
What is timed is told in ``streamlake_assets/learning/timing.py``, the plan of a profile stands in
``streamlake_assets/flows/benchmark_plan.py``; the asset ``reports/benchmark`` runs the same.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from streamlake_assets.flows.benchmark import COMMAND, profile_named
from streamlake_assets.flows.benchmark_page import page
from streamlake_assets.flows.benchmark_run import run_benchmark
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import Bar, Instrument
from streamlake_assets.settings import Settings
from streamlake_assets.sources import bokeh_sample

NAME = "train"


def run(
    profile: str,
    say: Callable[[str], None],
    minutes: float | None = None,
    before: Mapping[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Run a profile of the training benchmark and return its report.

    Args:
        profile: ``quick`` or ``full``.
        say: takes a line for each measurement.
        minutes: what would end later is left out and named, in place of the profile's own budget.
        before: the report of a run that is continued.
        keep: takes the unfinished report after each measurement.

    Raises:
        UsageError: ``before`` is of another profile, machine or version.
    """
    chosen, command = profile_named(profile), f"{COMMAND} {profile}"
    if minutes is not None:
        chosen, command = chosen._replace(budget_s=60.0 * minutes), f"{command} --minutes {minutes:g}"
    return run_benchmark(chosen, real_frame(), say=say, command=command, before=before, keep=keep)


def report(found: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the page of a report and its charts by file name."""
    pictures: dict[str, str] = {}

    def image(name: str, title: str, svg: str) -> str:
        pictures[f"{name}.svg"] = svg
        return f"![{title}]({name}.svg)"

    return page(found, image), pictures


def real_frame() -> TrainingFrame:
    """Return the training rows of the real bars, as the documents would give them."""
    data = bokeh_sample.load()
    factors: dict[tuple[Instrument, int], float] = {}
    for action in data.actions:
        key = Instrument(action.symbol, action.exchange), ordinal(action.ex_date)
        factors[key] = factors.get(key, 1.0) * float(action.factor)
    bars: dict[Instrument, list[Bar]] = defaultdict(list)
    for bar in data.bars:
        bars[Instrument(bar.symbol, bar.exchange)].append(bar)
    series = [_series(instrument, own, factors) for instrument, own in sorted(bars.items())]
    return training_frame(series, None, Settings.model_fields["min_history"].default)


def _series(instrument: Instrument, bars: list[Bar], factors: Mapping[tuple[Instrument, int], float]) -> SessionSeries:
    sessions = [ordinal(session_date(bar.bar_time, bar.exchange)) for bar in bars]
    columns = {
        name: np.array([float(getattr(bar, name)) for bar in bars])
        for name in ("open", "high", "low", "close", "volume")
    }
    return SessionSeries(
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        sessions=np.array(sessions, dtype=np.int64),
        factor=np.array([factors.get((instrument, session), 1.0) for session in sessions]),
        asset_class=bars[0].asset_class,
        **columns,
    )
