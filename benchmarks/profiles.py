"""What ``quick`` and ``full`` run: rows, rounds, cases in their order; and the run as a whole.

Belongs here: the plan of a run and its result as plain data. Stays out: options and files (``__main__``), words
(``report``).
"""

import datetime as dt
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.cases import (
    age,
    cache,
    forecast,
    group,
    ingest,
    latency,
    load,
    location,
    memory,
    page,
    refresh,
    server_share,
    train,
)
from benchmarks.cases.again import Replay
from benchmarks.cases.base import Case
from benchmarks.cases.debezium import Debezium
from benchmarks.cases.exactly_once import Store
from benchmarks.cases.limit import Limit
from benchmarks.cases.members import Members
from benchmarks.cases.pipelines import Ours, Peer
from benchmarks.rig import open_rig
from benchmarks.rounds import interleave
from streamlake_assets.broker.topics import PARTITIONS
from streamlake_assets.flows.benchmark_plan import PROFILES as TRAINING
from streamlake_assets.servers.waiting import Say


class Profile(NamedTuple):
    """How much a run does."""

    rows: int
    rounds: int
    per_message: int
    latency_s: float
    away_s: float
    idle_s: float
    """Longest wait for an idle machine before each run."""
    partitions: tuple[int, ...]
    """Other partition counts to measure the consumer with."""
    chain: tuple[str, ...]
    """Cases on the whole chain, each on fresh stacks of its own."""
    two: bool


PROFILES = {
    "quick": Profile(100_000, 3, 1_000, 5.0, 5.0, 3.0, (), (), False),
    "full": Profile(
        1_000_000, 5, 5_000, 20.0, 60.0, 20.0, (1, 2, 8), ("ingest", "refresh", "load", "group", "forecast"), True
    ),
}
CHAIN: dict[str, Callable[[int, Say], dict[str, Any]]] = {
    "ingest": ingest.run,
    "refresh": refresh.run,
    "load": load.run,
    "group": group.run,
    "forecast": forecast.run,
}
OF_TRAINING = tuple(name for name in TRAINING if name not in PROFILES)
"""Profiles that only the training benchmark has."""
ROWS_BY_PARTITIONS = 300_000
ALONE = ("memory", "latency", "server-share")
"""Cases that run once, after the rounds."""
ASKED: dict[str, Callable[[str, Say], dict[str, Any]]] = {
    page.NAME: page.run,
    age.NAME: age.run,
    cache.NAME: cache.run,
    location.NAME: location.run,
}
"""Cases about the page and Dagster, each on a chain of its own; they take the profile's name."""
ASKED_FOR = (train.NAME, *ASKED)
"""Cases that run only when they are named: they need no rig, and training has a report of its own."""


def round_cases(profile: Profile) -> list[Case]:
    """Return the cases of a round in their order; ``replay`` needs the tables that ``ours`` left."""
    cases: list[Case] = [
        Limit(),
        Ours(),
        Replay(),
        Peer("executemany", "executemany"),
        Debezium(),
        Peer("per-message", "per_message", profile.per_message),
        Peer("per-message-sql", "per_message_sql", profile.per_message),
        Store(bare=False),
        Store(bare=True),
    ]
    return [*cases, Members(1), Members(2)] if profile.two else cases


def names(profile: Profile) -> list[str]:
    """Return the names of all cases of a profile."""
    by_partitions = ["partitions"] if profile.partitions else []
    return [case.name for case in round_cases(profile)] + [*ALONE, *by_partitions, *profile.chain]


def run(
    name: str,
    profile: Profile,
    only: Collection[str],
    commit: str,
    say: Say,
    minutes: float | None = None,
    before: Mapping[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Run a profile, or some cases of it, and return the result.

    ``minutes`` bounds the training benchmark, ``before`` is the result that it continues, ``keep`` takes the result so
    far after each of its measurements.

    Raises:
        WrongRunError: a table did not hold what was sent.
    """
    started = dt.datetime.now(dt.UTC)
    result: dict[str, Any] = {
        "profile": name,
        "made_at": started.isoformat(),
        "commit": commit,
        "machine": machine.facts(),
        "rows": profile.rows,
        "rounds": profile.rounds,
        "not_run": {},
        "runs": [],
    }
    if train.NAME in only:

        def kept(report: dict[str, Any]) -> None:
            keep({**result, train.NAME: report})

        result["train"] = train.run(name, say, minutes, before["train"] if before else None, kept)
    if asked := {case: work(name, say) for case, work in ASKED.items() if case in only}:
        result["asked"] = asked
    if set(only) <= set(ASKED_FOR):
        return result
    chosen = [case for case in round_cases(profile) if case.name in only]
    if chosen or set(ALONE) & set(only):
        _on_the_rig(profile, chosen, only, result, say)
    if "partitions" in only:
        result["by_partitions"] = _by_partitions(profile, say)
    result["chain"] = [CHAIN[case](3, say) for case in profile.chain if case in only]
    result["took_s"] = round((dt.datetime.now(dt.UTC) - started).total_seconds())
    return result


def _on_the_rig(profile: Profile, chosen: list[Case], only: Collection[str], result: dict[str, Any], say: Say) -> None:
    with open_rig(say, profile.rows, PARTITIONS, profile.idle_s) as rig:
        result["servers"] = rig.facts
        result["runs"], result["not_run"] = interleave(rig, chosen, profile.rounds)
        if "memory" in only:
            result["memory"] = memory.measure(rig, profile.away_s)
        if "server-share" in only:
            result["server_share"] = server_share.measure(rig)
        if "latency" in only:
            result["latency"] = latency.measure(rig, profile.latency_s)
            if profile.two:
                result["latency_loop"] = latency.measure_loop(rig, profile.latency_s)


def _by_partitions(profile: Profile, say: Say) -> list[dict[str, Any]]:
    found = []
    for partitions in sorted({*profile.partitions, PARTITIONS}):
        with open_rig(say, ROWS_BY_PARTITIONS, partitions, profile.idle_s) as rig:
            runs, _ = interleave(rig, [Limit(), Ours()], 3)
            found += runs
    return found
