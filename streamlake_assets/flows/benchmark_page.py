"""The training benchmark as a Markdown page with charts: the verdict first, then the figures, then how they were made.

Belongs here: words, tables and charts out of a report. Stays out: what the figures mean (``benchmark_findings``),
tables (``benchmark_tables``), drawing (``svg_scaling``, ``svg_charts``).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamlake_assets.flows import benchmark_findings as findings
from streamlake_assets.flows import benchmark_tables as tables
from streamlake_assets.flows.benchmark_plan import BY_KEY, CONTESTANTS, INCUMBENT, LEAST_FEATURES
from streamlake_assets.flows.svg_charts import Bar, bar_chart
from streamlake_assets.flows.svg_scaling import Mark, Series, scaling_chart
from streamlake_assets.market.crossover import cost_at

Report = Mapping[str, Any]
Image = Callable[[str, str, str], str]
"""Makes Markdown of a chart: file name without ending, title, SVG."""


def page(report: Report, image: Image) -> str:
    """Return the whole page.

    Args:
        report: of ``benchmark.run_benchmark``.
        image: makes Markdown of a chart.
    """
    pictures = charts(report)

    def shown(*starts: str) -> str:
        return "\n\n".join(
            image(name, title, svg) for name, (title, svg) in pictures.items() if name.startswith(starts)
        )

    blocks = [
        _head(report),
        _certificate(report),
        _verdict(report),
        _missing(report),
        tables.totals(report),
        shown("total", "fit"),
        tables.phases(report),
        tables.crossovers(report),
        tables.recommendations(report),
        tables.memory(report),
        shown("memory"),
        tables.caps(report),
        tables.heaps(report),
        tables.other_sizes(report),
        tables.accuracy(report),
        tables.real_fits(report),
        tables.complexity(report),
        tables.runner(report),
        _left_out(report),
        _method(report),
        tables.runs(report),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def charts(report: Report) -> dict[str, tuple[str, str]]:
    """Return title and SVG of each chart by name: time from start to model, first fit, peak memory."""
    records = report["records"]
    found = {}
    for task in findings.TASKS:
        for quantity, what in (("total_s", "from start to model"), ("fit_cold", "first fit")):
            found_curves = _finite_curves(records, task, quantity)
            series = [Series(BY_KEY[key].short or BY_KEY[key].label, points) for key, points in found_curves.items()]
            # a single size has no scaling to show: the table says it
            if any(len(one.points) > 1 for one in series):
                title = f"{task.capitalize()}: seconds {what}, 2 cores, {LEAST_FEATURES} features"
                name = f"{'total' if quantity == 'total_s' else 'fit'}-{task}"
                found[name] = (title, scaling_chart(title, series, unit="s", marks=_marks(report, task, quantity)))
    lines = [line for line in tables.usual(report) if line["rounds"]]
    for rows in sorted({line["rows"] for line in lines}):
        bars = [
            Bar(
                tables.short(line["key"]), f"{line['peak_mib']:,.0f} MiB", line["peak_mib"], colour=_colour(line["key"])
            )
            for line in lines
            if line["rows"] == rows
        ]
        title = f"Peak memory of the process and all below it (PSS), MiB, {rows:,} rows"
        found[f"memory-{rows}"] = (title, bar_chart(title, bars))
    return found


def _finite_curves(records: Sequence[Mapping[str, Any]], task: str, quantity: str) -> dict[str, dict[int, float]]:
    found = {}
    for one in CONTESTANTS:
        if one.task == task:
            points = {n: cost for n, cost in findings.curve(records, one.key, quantity).items() if cost < math.inf}
            if points:
                found[one.key] = points
    return found


def _marks(report: Report, task: str, quantity: str) -> list[Mark]:
    own = next(one for one in CONTESTANTS if one.engine == INCUMBENT and one.task == task)
    line = findings.curve(report["records"], own.key, quantity)
    marks = []
    for at in report["findings"]["crossovers"]:
        if (at["task"], at["quantity"]) == (task, quantity) and at["rows"] and not (at["at_once"] or at["by_failure"]):
            cost = cost_at(line, at["rows"])
            if cost is not None and cost < math.inf:
                marks.append(Mark(at["rows"], cost, f"{findings.round_two(at['rows']):,.0f} rows"))
    return marks


def _head(report: Report) -> str:
    machine = report["machine"]
    load = ", ".join(f"{value:g}" for value in machine["load_before"])
    parts = "; ".join(
        f"`{one['run_id']}` ({one['made_at'][:16].replace('T', ' ')} UTC, {one['took_s']:.0f} s)"
        for one in report.get("continues", ())
    )
    continued = f" It continues {parts}, whose measurements are here too." if parts else ""
    return (
        f"# The same model on three engines, profile {report['profile']}\n\n"
        f"Run `{report['run_id']}`, {report['made_at'][:16].replace('T', ' ')} UTC, {report['took_s']:.0f} s. Again by "
        f"`{report['command']}`.{continued}\n\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {machine['system']}; Python "
        f"{machine['python']}; load before the run {load}."
    )


def _certificate(report: Report) -> str:
    found = report["certificate"]
    checks = found["checks"]
    passed = sum(bool(check["passed"]) for check in checks)
    text = f"## Parity certificate: {'valid' if found['valid'] else 'NOT VALID, nothing was timed'}\n\n"
    text += f"{passed} of {len(checks)} comparisons hold"
    text += f" ({found['seconds']:.0f} s)." if "seconds" in found else "."
    return text + "".join(f"\n- {finding}" for finding in found["findings"])


def _verdict(report: Report) -> str:
    found = report["findings"]["verdict"]
    if not findings.plain(report["records"]):
        # limits of memory alone: there is nothing to choose by
        return ""
    parts = ["## Verdict", found["says"]]
    if found["reasons"]:
        parts.append("Why:\n\n" + "\n".join(f"- {line}" for line in found["reasons"]))
    if found["change"]:
        parts.append("When to change:\n\n" + "\n".join(f"- {line}" for line in found["change"]))
    return "\n\n".join(parts)


def _missing(report: Report) -> str:
    lines = [f"- {name}: {reason}" for name, reason in report["missing"].items()]
    return "## Missing engines\n\n" + "\n".join(lines) if lines else ""


def _left_out(report: Report) -> str:
    return "## Left out\n\n" + "\n".join(f"- {line}" for line in report["left_out"]) if report["left_out"] else ""


def _method(report: Report) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in report["machine"]["packages"].items())
    busy = [record["busy_before_percent"] for record in report["records"]]
    idle = f" Processors were {min(busy):.0f} to {max(busy):.0f} % busy before a measurement." if busy else ""
    return (
        "## How it was measured\n\nEach measurement is a process of its own, one after another, with limits of time "
        "and, where said, of memory. Rows are made (Friedman's first function), the same on every engine; their making "
        "is not timed. Memory is the sum of proportional set sizes of the process and all below it, the JVM too, read "
        f"ten times a second from outside.{idle}\n\nA forest through BlockwiseVoting is another model: each tree saw "
        f"n/4 rows.\n\nPackages: {packages}."
    )


def _colour(key: str) -> int:
    return {"sklearn": 4, "dask": 1, "spark": 2}.get(BY_KEY[key].engine, 0)
