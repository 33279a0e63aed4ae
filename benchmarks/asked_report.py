"""Sections of the report about cases that run only when they are named: the page, its cache, Dagster.

Belongs here: words, tables and goals of these cases. Stays out: arithmetic (``samples``), the frame of a report
(``report``).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from benchmarks.figures import figure
from benchmarks.markdown import number, span, table
from benchmarks.samples import Goal, spread

FIRST_PAINT: Final = Goal(1_500)
"""Milliseconds from the navigation, on loopback with a warm server."""
TO_BROWSER: Final = Goal(40, 120)
"""Milliseconds at p99 with eight sessions and ten updates a second."""
FLAT: Final = Goal(1.1)
"""Memory with all sessions open for the last time, as a share of the first time."""
AGE: Final = Goal(90)
"""Seconds at p99 until documents hold a row."""
CACHE: Final = Goal(0.02, 0.05)
"""Time of the page from documents, as a share of the SQL behind it."""
LOADS: Final = Goal(3)
"""Seconds until the code location is there."""
TICK: Final = Goal(5)
"""Seconds of a tick of a sensor or schedule."""
_PARTS: Final = ("p50", "p95", "p99", "most")


def sections(asked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the sections of the cases that ran."""
    made = {"page": _page, "age": _age, "cache": _cache, "location": _location}
    return [made[name](found) for name, found in asked.items()]


def _page(found: Mapping[str, Any]) -> str:
    about = f"{found['browser']}; {found['candles']:,} candles. Servers: {'; '.join(found['servers'])}."
    blocks = ["## The page in a browser", about, _paint(found["paint"])]
    ways = map(_to_browser, found["to_browser"])
    return "\n\n".join([*blocks, *ways, _memory(found["memory"])])


def _paint(found: Mapping[str, Any]) -> str:
    rows = []
    for way, key in (("a new viewer", "fresh"), ("the same viewer again", "again")):
        for name, what in (("first_ms", "first content"), ("chart_ms", "canvas and candles drawn")):
            values = [load[name] for load in found[key]]
            middle = spread(values)
            rows.append(
                (
                    f"{way}: {what}",
                    str(len(values)),
                    number(middle.p50),
                    number(middle.most),
                    FIRST_PAINT.said,
                    FIRST_PAINT.verdict(middle.most),
                )
            )
    head = ("from the navigation", "loads", "median ms", "worst ms", "goal", "worst reaches")
    busy = f"Processors before: {found['busy_before_percent']:.0f} %."
    return f"### First paint\n\n{table(head, rows)}\n\n{busy}"


def _to_browser(found: Mapping[str, Any]) -> str:
    drawn = found["drawn"]
    where = "frame" if drawn else "socket"
    judged = found["stages"]["broker to browser, shown" if drawn else "broker to browser, got"]["p99"]
    rows = [(name, *(number(values[part]) for part in _PARTS)) for name, values in found["stages"].items()]
    cores = ", ".join(f"{name} {used}" for name, used in found["cores"].items())
    late = found["producer_late_ms"]["p99"]
    who = f"{drawn} drawn by a browser on the same processors, the others draw nothing" if drawn else "none is drawn"
    return "\n\n".join(
        [
            f"### From the broker to {found['sessions']} sessions, {drawn} drawn",
            f"{found['sessions']} sessions, {who}; {found['rate']} updates/s for {found['seconds']} s: "
            f"{found['updates']:,} updates.",
            table(("ms", *("greatest" if part == "most" else part for part in _PARTS)), rows),
            f"p99 from the broker's time to the {where}: {number(judged)} ms, goal {TO_BROWSER.said}: "
            f"{TO_BROWSER.verdict(judged)}. {found['overtaken']:.1%} of the updates were overtaken before their turn. "
            f"Cores used: {cores}. The producer was late by p99 {number(late)} ms. Processors before: "
            f"{found['busy_before_percent']:.0f} %.",
        ]
    )


def _memory(found: Mapping[str, Any]) -> str:
    rows = []
    for place, cycle in enumerate(found["cycles"], 1):
        for point in cycle["points"]:
            rows.append((f"{place}: {point['sessions']} open", number(point["mib"])))
        rows.append((f"{place}: all closed", number(cycle["closed_mib"])))
    first, last = (found["cycles"][place]["points"][-1] for place in (0, -1))
    share = last["mib"] / first["mib"]
    return "\n\n".join(
        [
            "### Memory of the server process",
            table(("sessions, by round", "MiB"), rows),
            f"Unused {number(found['unused_mib'])} MiB, after the first session was closed "
            f"{number(found['before_mib'])} MiB; {number(found['mib_per_session'])} MiB for each session the first "
            f"time; what they took is kept for the next. With {last['sessions']} sessions for the last time it is "
            f"{share:.2f} of the first time, goal {FLAT.said}: {FLAT.verdict(share)}.",
        ]
    )


def _age(found: Mapping[str, Any]) -> str:
    ways = {"to the refresh, dated at its begin": "to_refresh_s", "to documents that were seen": "to_documents_s"}
    rows = [(what, *(number(found[key][part]) for part in ("p50", "p95", "p99"))) for what, key in ways.items()]
    p99 = found["to_documents_s"]["p99"]
    return "\n\n".join(
        [
            "## Age of the documents under a running stream",
            f"{found['rate']} update/s on {found['history']:,} bars for {found['seconds']} s, {found['refreshes']} "
            f"refreshes by Dagster's daemon, {found['to_documents_s']['count']:,} batches. Servers: "
            f"{'; '.join(found['servers'])}.",
            table(("s from a row's batch", "p50", "p95", "p99"), rows),
            f"p99 until seen {number(p99)} s, goal {AGE.said}: {AGE.verdict(p99)}.",
            "Ticks that the daemon recorded:",
            _ticks(found["ticks"]),
        ]
    )


def _cache(found: Mapping[str, Any]) -> str:
    rounds = found["rounds"]
    rows = [
        (what, span(value), span(share))
        for key, what in _CACHE_WORDS.items()
        if (value := figure([one[key] for one in rounds if key in one]))
        and (share := figure([one[key] / one["sql_s"] for one in rounds if key in one]))
    ]
    said = []
    for what, key, to in _RATIOS:
        value = figure([one[key] / one[to] for one in rounds if key in one])
        if value is not None:
            # the goal speaks of the SQL behind the page
            bound = f", goal {CACHE.said}: {CACHE.verdict(value.median)}" if to == "sql_s" else ""
            said.append(f"- {what}: {value.median:.4f} ({value.least:.4f} to {value.greatest:.4f}){bound}.")
    return "\n\n".join(
        [
            "## Key indicators from documents and from SQL",
            f"{found['rows']:,} daily bars of {found['instruments']:,} instruments. Servers: "
            f"{'; '.join(found['servers'])}. Loaded in {number(found['load_s'])} s, buckets made in "
            f"{number(found['buckets_s'])} s, all periods in "
            f"{number(found['refresh_s'])} s.",
            table(("way", "s, median (range)", "of SQL"), rows),
            "\n".join(said),
        ]
    )


_CACHE_WORDS: Final = {
    "documents_s": "the page's documents, from question to answer",
    "periods_s": "the collection `periods` alone",
    "buckets_s": "reading all feature buckets",
    "sql_s": "the page's SQL, from question to answer",
    "sql_read_s": "of that, reading all daily bars",
    "aggregate_s": "a statement by hand for this year alone, fewer measures",
}
_RATIOS: Final = (
    ("Documents / the page's SQL", "documents_s", "sql_s"),
    ("The collection `periods` / the page's SQL", "periods_s", "sql_s"),
    ("The collection `periods` / the statement by hand", "periods_s", "aggregate_s"),
    ("Documents / the statement by hand", "documents_s", "aggregate_s"),
)


def _location(found: Mapping[str, Any]) -> str:
    holds = ", ".join(f"{count} {what}" for what, count in found["holds"].items())
    words = {
        "load_s": "from the first import to the repository",
        "cpu_s": "the same, processor time",
        "dagster_s": "of it, importing Dagster",
        "process_s": "the whole process from outside",
    }
    rows = [
        (what, *(number(found["loads"][key][part]) for part in ("least", "p50", "most"))) for key, what in words.items()
    ]
    worst = found["loads"]["load_s"]["most"]
    return "\n\n".join(
        [
            "## The code location",
            f"It holds {holds}; loaded {found['loads']['load_s']['samples']} times, each in a new process, without any "
            f"server. Processors before: {found['busy_before_percent']:.0f} %.",
            table(("s", "least", "median", "most"), rows),
            f"Worst {number(worst)} s, goal {LOADS.said}: {LOADS.verdict(worst)}.",
            "Ticks, evaluated as the code server does it:",
            _ticks(found["ticks"]),
        ]
    )


def _ticks(ticks: Mapping[str, Mapping[str, float]]) -> str:
    rows: Iterable[tuple[str, ...]] = (
        (
            name,
            str(one["samples"]),
            number(one["first"]) if "first" in one else "–",
            number(one["p50"]),
            number(one["most"]),
            TICK.verdict(max(one["most"], one.get("first", 0.0))),
        )
        for name, one in ticks.items()
    )
    return table(("sensor or schedule", "ticks", "first, s", "median, s", "most, s", f"goal {TICK.said} s"), rows)
