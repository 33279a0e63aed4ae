"""Gates and goals, all in one table: a gate fails the build, a goal is what the report aims at.

Belongs here: the table and the decision. Stays out: where the figures come from (``figures``). A result is refused, not
failed, when it cannot be judged: the reference was unsteady, there were too few rounds, it was not the real MySQL, or a
figure is missing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.figures import Figure

MOST_SPREAD = 0.25
"""Of the reference's rounds, as a share of its median."""
LEAST_ROUNDS = 5
RATES = (500, 5_000, 20_000)


class Gate(NamedTuple):
    """One line of the table; ``least``: the figure must be at least the gate, else at most."""

    figure: str
    what: str
    gate: float
    goal: float
    least: bool = True
    unit: str = ""

    def holds(self, value: float, bound: float) -> bool:
        """Tell whether a value is on the right side of a bound."""
        return value >= bound if self.least else value <= bound


GATES = (
    Gate("ours/limit", "consumer / LOAD DATA of a ready file", 0.40, 0.50),
    Gate("ours/debezium", "consumer / Debezium JDBC sink", 2.0, 2.5),
    Gate("rss", "peak memory of the consumer", 150, 150, least=False, unit="MiB"),
    Gate("ours/executemany", "consumer / executemany loop with the same decoder and offsets", 1.8, 2.5),
    Gate("ours/per-message", "consumer / one message at a time (ORM, both commits)", 100, 230),
    *(
        Gate(f"p99@{rate}", f"p99 from event to row at {rate:,} messages/s", 40, 12, least=False, unit="ms")
        for rate in RATES
    ),
    Gate("exactly-once", "with offset, batch record and touches / without", 0.93, 0.97),
    Gate("rss-full/small", "memory with a full topic waiting / with 10,000 messages", 1.3, 1.1, least=False),
)


class Verdict(NamedTuple):
    """What became of one gate; ``value`` is None where the figure is missing."""

    gate: Gate
    value: Figure | None
    passed: bool
    reached: bool


def judge(found: Mapping[str, Figure]) -> list[Verdict]:
    """Return the verdict on every gate."""
    verdicts = []
    for gate in GATES:
        value = found.get(gate.figure)
        passed = value is not None and gate.holds(value.median, gate.gate)
        reached = value is not None and gate.holds(value.median, gate.goal)
        verdicts.append(Verdict(gate, value, passed, reached))
    return verdicts


def refusals(result: Mapping[str, Any], found: Mapping[str, Figure]) -> list[str]:
    """Return why a result cannot be judged; empty when it can."""
    reasons = []
    reference = found.get("reference")
    if reference is None:
        reasons.append("the reference did not run")
    else:
        if reference.spread > MOST_SPREAD:
            reasons.append(f"the reference's spread is {reference.spread:.0%}, at most {MOST_SPREAD:.0%} is judged")
        if reference.rounds < LEAST_ROUNDS:
            reasons.append(f"{reference.rounds} rounds, {LEAST_ROUNDS} are needed (--rounds {LEAST_ROUNDS})")
    if "MariaDB" in result.get("servers", {}).get("mysql", ""):
        reasons.append("it ran on MariaDB, the gates are meant for the real MySQL")
    missing = [gate.figure for gate in GATES if gate.figure not in found]
    if missing:
        reasons.append(f"figures are missing: {', '.join(missing)}")
    return reasons
