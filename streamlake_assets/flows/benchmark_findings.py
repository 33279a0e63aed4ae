"""What the records of a training benchmark say: medians, crossovers, regret, and one verdict in sentences.

Belongs here: findings as plain data out of records. Stays out: the arithmetic of curves (``market.crossover``),
measuring (``benchmark``), tables and charts (``benchmark_page``). Every figure in a sentence comes from a record.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from streamlake_assets.flows.benchmark_plan import BY_KEY, CONTESTANTS, CONTEXT, INCUMBENT, LEAST_FEATURES, Contestant
from streamlake_assets.market import crossover as curves
from streamlake_assets.market.crossover import Curve

TOTAL: Final = ("import", "open", "transfer", "fit_cold", "fetch")
"""Phases from nothing to a model that can forecast."""
R2_GOAL: Final = 0.02
R2_GATE: Final = 0.03
RUNNER_GOAL: Final = 1.02
RUNNER_GATE: Final = 1.05
TASKS: Final = ("linear", "forest")
TRIAL: Final = -1
"""Round of a record that belongs to the search for the smallest heap."""
_QUANTITIES: Final = ("total_s", "fit_cold", "fit_warm")

Record = Mapping[str, Any]


def findings(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a report's records say, as plain data; empty lists where nothing was measured."""
    records: Sequence[Record] = report["records"]
    return {
        "summary": summary(records),
        "r2_spread": _r2_spread(records),
        "runner": _runner(records),
        "crossovers": _crossovers(records),
        "recommendations": _recommendations(records),
        "caps": _caps(records),
        "heaps": _heaps(records),
        "verdict": verdict(report),
    }


def plain(records: Iterable[Record]) -> list[Record]:
    """Return the records without cap, pairs or search of a heap."""
    return [r for r in records if not r["pairs"] and not r["cap_mib"] and r["round"] != TRIAL]


def summary(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return one line for each contestant, size and number of cores: medians over rounds with their range."""
    groups: dict[tuple[str, int, int, int], list[Record]] = {}
    for record in plain(records):
        groups.setdefault((record["key"], record["rows"], record["features"], record["cores"]), []).append(record)
    lines = []
    for (key, rows, features, cores), group in groups.items():
        done = [r for r in group if not r["failed"]]
        line: dict[str, Any] = {"key": key, "rows": rows, "features": features, "cores": cores, "rounds": len(done)}
        line["failed"] = next((r["failed"] for r in group if r["failed"]), "")
        line["reason"] = next((r["reason"] for r in group if r["failed"]), "")
        if done:
            line["seconds"] = {name: _middle([r["seconds"][name] for r in done]) for name in done[0]["seconds"]}
            line["cpu_seconds"] = {
                name: _middle([r["cpu_seconds"][name] for r in done]) for name in done[0]["cpu_seconds"]
            }
            line["total_s"] = _middle([r["total_s"] for r in done])
            line["total_range_s"] = [min(r["total_s"] for r in done), max(r["total_s"] for r in done)]
            line["cpu_s"] = _middle([sum(r["cpu_seconds"].get(name, 0.0) for name in TOTAL) for r in done])
            for name in ("peak_mib", "rows_mib", "one_row_us", "rmse", "r2", "processes", "model_files", "model_bytes"):
                line[name] = _middle([r[name] for r in done])
        lines.append(line)
    return lines


def curve(records: Iterable[Record], key: str, quantity: str) -> Curve:
    """Return medians of a quantity by rows at the usual features and two cores; infinite where no round finished.

    ``quantity``: ``total_s``, ``peak_mib``, or a phase.
    """
    found: dict[int, float] = {}
    for line in _usual(r for r in records if r["key"] == key):
        if not line["rounds"]:
            # what was stopped by its limit did not finish; what broke otherwise says nothing of time
            if line["failed"] in ("time", "memory"):
                found[line["rows"]] = math.inf
        elif quantity in line:
            found[line["rows"]] = line[quantity]
        elif quantity in line["seconds"]:
            found[line["rows"]] = line["seconds"][quantity]
    return {rows: cost for rows, cost in found.items() if cost > 0}


def _r2_spread(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return how far apart the R² of the frameworks lie, by task and size."""
    lines = _usual(records)
    found = []
    for task in TASKS:
        for rows in sorted({line["rows"] for line in lines}):
            values = {
                line["key"]: line["r2"]
                for line in lines
                if line["rows"] == rows
                and line["rounds"]
                and BY_KEY[line["key"]].task == task
                and BY_KEY[line["key"]].same_model
            }
            if len(values) > 1:
                spread = max(values.values()) - min(values.values())
                found.append(
                    {
                        "task": task,
                        "rows": rows,
                        "spread": spread,
                        "near": spread <= R2_GATE,
                        "reached": spread <= R2_GOAL,
                        "r2": values,
                    }
                )
    return found


def _runner(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return what the runner costs over the bare library: the ratio of each pair, its median and range."""
    found = []
    for record in records:
        if record["pairs"] and not record["failed"]:
            ratios = [ours / bare for ours, bare in zip(record["ours"], record["bare"], strict=True)]
            middle = _middle(ratios)
            found.append(
                {
                    "key": record["key"],
                    "rows": record["rows"],
                    "pairs": len(ratios),
                    "ratio": middle,
                    "range": [min(ratios), max(ratios)],
                    "cpu_ratio": record["ours_cpu"] / record["bare_cpu"] if record["bare_cpu"] > 0 else None,
                    "ours_s": _middle(record["ours"]),
                    "bare_s": _middle(record["bare"]),
                    "reached": middle <= RUNNER_GOAL,
                    "passed": middle <= RUNNER_GATE,
                    "run": record["run"],
                }
            )
    return found


def _crossovers(records: Sequence[Record]) -> list[dict[str, Any]]:
    found = []
    for one in CONTESTANTS:
        if one.engine == INCUMBENT or one.task not in TASKS:
            continue
        incumbent = next(c for c in CONTESTANTS if c.engine == INCUMBENT and c.task == one.task)
        for quantity in _QUANTITIES:
            ours, theirs = curve(records, incumbent.key, quantity), curve(records, one.key, quantity)
            if not set(ours) & set(theirs):
                continue
            at = curves.crossover(ours, theirs)
            found.append(
                {"key": one.key, "task": one.task, "quantity": quantity, "says": say_crossover(at), **at._asdict()}
            )
    return found


def say_crossover(at: curves.Crossover) -> str:
    """Return a crossover in words."""
    if at.rows is None:
        return f"not reached up to {at.last:,} rows"
    again = "" if at.stays else ", but not at every larger size"
    if at.at_once:
        return f"ahead from the smallest size on ({at.first:,} rows){again}"
    if at.by_failure:
        return f"at {at.rows:,.0f} rows, where one process did not finish{again}"
    return f"at about {round_two(at.rows):,.0f} rows{again}"


def round_two(value: float) -> float:
    """Round to two digits that count: an interpolation knows no more."""
    digits = math.floor(math.log10(value)) - 1
    return float(round(value / 10.0**digits) * 10.0**digits)


def _recommendations(records: Sequence[Record]) -> list[dict[str, Any]]:
    found = []
    for task in TASKS:
        chosen = [one for one in CONTESTANTS if one.task == task]
        times = {one.key: curve(records, one.key, "total_s") for one in chosen}
        memory = {one.key: curve(records, one.key, "peak_mib") for one in chosen}
        sizes = sorted({size for each in times.values() for size in each})
        between = [round_two(math.sqrt(a * b)) for a, b in pairwise(sizes)]
        for rows in sorted({*sizes, *between}):
            regrets = curves.regrets(times, memory, rows)
            if regrets:
                found.append(
                    {
                        "task": task,
                        "rows": int(rows),
                        "measured": rows in sizes,
                        "use": regrets[0].name,
                        "regret": [
                            {"key": r.name, "time": _finite(r.time), "memory": _finite(r.memory)} for r in regrets
                        ],
                    }
                )
    return found


def _caps(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the largest size each contestant completed under each cap; a smaller cap's success counts for a larger."""
    capped = [r for r in records if r["cap_mib"]]
    found = []
    for key in dict.fromkeys(r["key"] for r in capped):
        best: int = 0
        stop: Record | None = None
        for cap in sorted({r["cap_mib"] for r in capped}):
            mine = [r for r in capped if r["key"] == key and r["cap_mib"] == cap]
            if not mine and not best:
                continue
            best = max([best, *(r["rows"] for r in mine if not r["failed"])])
            # what was too slow under a smaller cap was not tried again
            slow = stop if stop is not None and stop["failed"] == "time" else None
            stop = next((r for r in mine if r["failed"]), slow)
            found.append(
                {
                    "key": key,
                    "features": next(r["features"] for r in capped if r["key"] == key),
                    "cap_mib": cap,
                    "rows": best,
                    "stopped_at": stop["rows"] if stop else None,
                    "stopped_by": stop["failed"] if stop else "",
                    "reason": stop["reason"] if stop else "",
                    "limited_by": next((r["limited_by"] for r in mine), ""),
                }
            )
    return found


def _heaps(records: Sequence[Record]) -> list[dict[str, Any]]:
    trials = [r for r in records if r["round"] == TRIAL]
    found = []
    for key, rows in dict.fromkeys((r["key"], r["rows"]) for r in trials):
        mine = [r for r in trials if (r["key"], r["rows"]) == (key, rows)]
        enough = [r["heap_mib"] for r in mine if not r["failed"]]
        short = [r["heap_mib"] for r in mine if r["failed"]]
        found.append(
            {
                "key": key,
                "rows": rows,
                "least_mib": min(enough, default=None),
                "too_small_mib": max(short, default=None),
            }
        )
    return found


def verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return which framework to use in this context, why, and when to change; sentences of measured figures only."""
    records: Sequence[Record] = report["records"]
    tasks: list[dict[str, Curve]] = []
    by_framework: dict[str, dict[str, Contestant]] = {}
    for task in TASKS:
        chosen = {one.framework: one for one in CONTESTANTS if one.task == task and one.same_model}
        by_framework[task] = chosen
        task_curves = {name: curve(records, one.key, "total_s") for name, one in chosen.items()}
        inside: dict[str, Curve] = {
            n: {s: t for s, t in c.items() if CONTEXT[0] <= s <= CONTEXT[1]} for n, c in task_curves.items()
        }
        # a size counts where every framework that was measured at all was measured
        measured = {n: c for n, c in inside.items() if c}
        common = set.intersection(*(set(c) for c in measured.values())) if measured else set()
        tasks.append({n: {s: t for s, t in c.items() if s in common} for n, c in measured.items()})
    choice = curves.least_regret(tasks)
    sizes = sorted({size for task in tasks for found in task.values() for size in found})
    if choice is None or not sizes:
        return {
            "framework": "",
            "says": "No verdict: no framework finished at every size that was measured.",
            "reasons": [],
            "change": [],
        }
    name = choice.name
    where = f"at {sizes[0]:,} rows" if len(sizes) == 1 else f"over {sizes[0]:,} to {sizes[-1]:,} rows"
    if choice.worst == 1.0:
        says = f"{name}: {where} it takes the least time of all frameworks for the same model, in each task."
    else:
        says = (
            f"{name}: {where} it takes for the same model at most {choice.worst:.2g} times the time of the quickest; "
            f"that worst case is the mildest of all frameworks."
        )
    reasons = []
    for task, task_curves in zip(TASKS, tasks, strict=True):
        for other in (one for one in task_curves if one != name and name in task_curves):
            reasons += _compare(records, task, by_framework[task][name], by_framework[task][other])
    reasons += _effort(report, name)
    reasons += _references(records)
    return {
        "framework": name,
        "says": says,
        "measured": [sizes[0], sizes[-1]],
        "context": list(CONTEXT),
        "reasons": reasons,
        "change": _when_to_change(report, name, sizes[-1]),
    }


def _compare(records: Sequence[Record], task: str, one: Contestant, other: Contestant) -> list[str]:
    """Return the chosen framework against another in one sentence, at the ends of what both were measured at."""
    mine, theirs = curve(records, one.key, "total_s"), curve(records, other.key, "total_s")
    both = [size for size in sorted(set(mine) & set(theirs)) if math.inf not in (mine[size], theirs[size])]
    parts = []
    for size in dict.fromkeys((both[0], both[-1])) if both else ():
        memory = [curve(records, key, "peak_mib").get(size, math.inf) for key in (one.key, other.key)]
        parts.append(
            f"at {size:,} rows {mine[size]:.3g} s against {theirs[size]:.3g} s in all, "
            f"{memory[0]:,.0f} against {memory[1]:,.0f} MiB"
        )
    return [f"{task.capitalize()}, {one.label} against {other.label}: {'; '.join(parts)}."] if parts else []


def _references(records: Sequence[Record]) -> list[str]:
    """Return what other kinds of model do in one process, at the largest size that they and the forest finished."""
    lines = {(line["key"], line["rows"]): line for line in _usual(records) if line["rounds"]}
    forest = next(one.key for one in CONTESTANTS if one.engine == INCUMBENT and one.task == "forest")
    found = []
    for other in (one for one in CONTESTANTS if one.task == "boosting"):
        sizes = [rows for key, rows in lines if key == other.key and (forest, rows) in lines]
        if sizes:
            one, own = lines[other.key, max(sizes)], lines[forest, max(sizes)]
            found.append(
                f"Another model in one process: {other.label} fits {max(sizes):,} rows in "
                f"{one['seconds']['fit_warm']:.3g} s with R² {one['r2']:.3f}; the forest in "
                f"{own['seconds']['fit_warm']:.3g} s with {own['r2']:.3f}."
            )
    return found


def _usual(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [line for line in summary(records) if (line["features"], line["cores"]) == (LEAST_FEATURES, 2)]


def _effort(report: Mapping[str, Any], name: str) -> list[str]:
    engine = next(one.engine for one in CONTESTANTS if one.framework == name)
    counted = {c["engine"]: c for c in report["complexity"]}
    if engine not in counted:
        return []
    others = [
        f"{other}: {c['lines']} lines, {len(c['concepts'])} names of the library, {len(c['transitive'])} packages"
        + (f" and {', '.join(c['beyond_python'])}" if c["beyond_python"] else "")
        for other, c in counted.items()
        if other != engine and any(o.engine == other and o.same_model for o in CONTESTANTS)
    ]
    mine = counted[engine]
    return [
        f"Its engine here has {mine['lines']} lines, {len(mine['concepts'])} names of the library and "
        f"{len(mine['transitive'])} packages ({'; '.join(others)})."
    ]


def _when_to_change(report: Mapping[str, Any], name: str, last: int) -> list[str]:
    records: Sequence[Record] = report["records"]
    lines = []
    for task in TASKS:
        own = next(one for one in CONTESTANTS if one.framework == name and one.task == task and one.same_model)
        for other in CONTESTANTS:
            if other.task != task or other.framework == name:
                continue
            ours, theirs = curve(records, own.key, "total_s"), curve(records, other.key, "total_s")
            if set(ours) & set(theirs):
                at = curves.crossover(ours, theirs)
                lines.append(f"{task.capitalize()}, {other.label} quicker in all: {say_crossover(at)}.")
    for cap in _caps(records):
        if BY_KEY[cap["key"]].framework == name and cap["stopped_by"] == "memory":
            lines.append(
                f"Memory: under {cap['cap_mib']:,} MiB {cap['key']} carries {cap['rows']:,} rows of {cap['features']} "
                f"features and no more {cap['stopped_at']:,}."
            )
    if last < CONTEXT[1]:
        lines.append(
            f"Measured up to {last:,} rows only; the context goes to {CONTEXT[1]:,}: the full profile measures that."
        )
    lines += [f"{engine} is missing here: {reason}." for engine, reason in report["missing"].items()]
    return lines


def _middle(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def _finite(value: float) -> float | None:
    return value if value < math.inf else None
