"""Figures out of raw runs: medians, spreads, and ratios inside one round; nothing is measured here.

Belongs here: arithmetic on a result. Stays out: gates (``gates``), words (``report``). Two cases are compared round by
round, because what slows a machine down for a minute slows both; the median of those ratios is the figure.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

REFERENCE = "limit"


class Figure(NamedTuple):
    """Median, least and greatest of several rounds."""

    median: float
    least: float
    greatest: float
    rounds: int

    @property
    def spread(self) -> float:
        """Distance of the greatest from the least, as a share of the median."""
        return (self.greatest - self.least) / self.median if self.median else 0.0


def figure(values: Sequence[float]) -> Figure | None:
    """Return the figure of some values; None when there are none."""
    return Figure(statistics.median(values), min(values), max(values), len(values)) if values else None


def by_round(result: Mapping[str, Any], case: str, key: str = "rate") -> dict[int, float]:
    """Return one value of each measured round of a case."""
    return {run["round"]: float(run[key]) for run in result["runs"] if run["case"] == case and run["round"] > 0}


def ratio(result: Mapping[str, Any], case: str, to: str) -> Figure | None:
    """Return how many times faster one case is than another, from the rounds that have both."""
    ours, theirs = by_round(result, case), by_round(result, to)
    return figure([value / theirs[number] for number, value in ours.items() if theirs.get(number)])


def rate(result: Mapping[str, Any], case: str) -> Figure | None:
    """Return rows in a second of a case."""
    return figure(list(by_round(result, case).values()))


def cpu_per_row(result: Mapping[str, Any], case: str) -> dict[str, float]:
    """Return the median microseconds of processor time for each row, by side."""
    runs = [run for run in result["runs"] if run["case"] == case and run["round"] > 0 and run["rows"]]
    sides = sorted({side for run in runs for side in run["cpu_s"]})
    return {side: statistics.median(run["cpu_s"].get(side, 0.0) / run["rows"] * 1e6 for run in runs) for side in sides}


def peak_mib(result: Mapping[str, Any], case: str, side: str = "client") -> Figure | None:
    """Return the peak memory of one side of a case."""
    runs = [run for run in result["runs"] if run["case"] == case and run["round"] > 0]
    return figure([run["peak_mib"][side] for run in runs if side in run["peak_mib"]])


def cases(result: Mapping[str, Any]) -> list[str]:
    """Return the names of the cases that ran, in the order of their first run."""
    return list(dict.fromkeys(run["case"] for run in result["runs"]))


class Histogram(NamedTuple):
    """Counts by bucket, not cumulated; ``edges`` are upper bounds in seconds, the last may be infinite."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def total(self) -> float:
        """Number of observations."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Return the value below which a share of the observations lies, linear inside its bucket."""
        wanted, seen, low = share * self.total, 0.0, 0.0
        for edge, count in zip(self.edges, self.counts, strict=True):
            if count and seen + count >= wanted:
                return low if edge == float("inf") else low + (edge - low) * (wanted - seen) / count
            seen, low = seen + count, edge
        return low

    @property
    def greatest(self) -> float:
        """Upper edge of the last bucket that holds something."""
        return max((edge for edge, count in zip(self.edges, self.counts, strict=True) if count), default=0.0)


def histogram(cumulated: Mapping[float, float], before: Mapping[float, float]) -> Histogram:
    """Return what was added between two readings of a Prometheus histogram, upper bound -> cumulated count."""
    edges = tuple(sorted(cumulated))
    steps = [cumulated[edge] - before.get(edge, 0.0) for edge in edges]
    counts = [step - (steps[place - 1] if place else 0.0) for place, step in enumerate(steps)]
    return Histogram(edges, tuple(counts))


def summary(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Return every figure that a gate or the report may ask for, by name; what did not run is absent."""
    found: dict[str, Figure | None] = {
        "reference": rate(result, REFERENCE),
        "ours/limit": ratio(result, "ours", REFERENCE),
        "ours/debezium": ratio(result, "ours", "debezium"),
        "ours/executemany": ratio(result, "ours", "executemany"),
        "ours/per-message": ratio(result, "ours", "per-message"),
        "ours/per-message-sql": ratio(result, "ours", "per-message-sql"),
        "exactly-once": ratio(result, "store", "store-bare"),
        "replay/fresh": ratio(result, "replay", "ours"),
        "two/one": ratio(result, "two", "one"),
        "rss": peak_mib(result, "ours"),
        "rss-debezium": peak_mib(result, "debezium"),
    }
    for point in result.get("latency", []):
        found[f"p99@{point['rate']}"] = figure([point["p99_ms"]])
    memory = {point["waiting"]: point["peak_mib"] for point in result.get("memory", [])}
    if len(memory) == 2:
        found["rss-full/small"] = figure([memory[max(memory)] / memory[min(memory)]])
    return {name: value for name, value in found.items() if value is not None}
