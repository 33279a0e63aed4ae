"""The tables of the training benchmark's page, each with what its columns mean.

Belongs here: one function for each table, from a report to Markdown; an empty text where there is nothing to show.
Stays out: the order of the page, charts, words about the whole (``benchmark_page``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streamlake_assets.flows import benchmark_findings as findings
from streamlake_assets.flows.benchmark_plan import BY_KEY, CONTESTANTS, LEAST_FEATURES
from streamlake_assets.market.crossover import growth

Report = Mapping[str, Any]

_PHASES: Final = (
    "import",
    "open",
    "transfer",
    "fit_cold",
    "fit_warm",
    "fetch",
    "predict",
    "predict_by_library",
    "save",
    "load",
)
_QUANTITIES: Final = {"total_s": "start to model", "fit_cold": "first fit", "fit_warm": "further fit"}


def totals(report: Report) -> str:
    """Return seconds from start to model by way and size."""
    lines = usual(report)
    sizes = sorted({line["rows"] for line in lines})
    rows = []
    for one in CONTESTANTS:
        mine = {line["rows"]: line for line in lines if line["key"] == one.key}
        if mine:
            slope = growth(findings.curve(report["records"], one.key, "fit_warm"))
            cells = [_total(mine.get(size)) for size in sizes]
            rows.append((one.task, one.label, *cells, f"{slope:.2f}" if slope is not None else "–"))
    head = ("task", "way", *(f"{size:,} rows" for size in sizes), "growth")
    return (
        (
            "## Time from start to model\n\nSeconds for import, session or cluster, transfer, first fit and fetching "
            "the model; median (range, n rounds where there were several). Growth: the exponent b of "
            "(further fit) = a · rows^b.\n\n" + table(head, rows, text=2)
        )
        if rows
        else ""
    )


def _total(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return "–"
    if not line["rounds"]:
        return f"**{line['failed']}**"
    low, high = line["total_range_s"]
    return f"{line['total_s']:.2f}" + (f" ({low:.2f}–{high:.2f}, n {line['rounds']})" if line["rounds"] > 1 else "")


def phases(report: Report) -> str:
    """Return the seconds of each phase."""
    rows = [
        (
            short(line["key"]),
            f"{line['rows']:,}",
            *(_seconds(line["seconds"].get(name)) for name in _PHASES),
            f"{line['cpu_s']:.1f}",
        )
        for line in usual(report)
        if line["rounds"]
    ]
    head = ("way", "rows", *(name.replace("_", " ") for name in _PHASES), "CPU s")
    return (
        (
            "## Phases\n\nSeconds, medians. Predict: 10,000 rows by the portable model, and by the library itself. "
            "CPU: seconds of all processes from start to model; steadier than the clock on a busy machine.\n\n"
            + table(head, rows)
        )
        if rows
        else ""
    )


def crossovers(report: Report) -> str:
    """Return where each way overtakes one process."""
    rows = [
        (at["task"], BY_KEY[at["key"]].label, _QUANTITIES[at["quantity"]], at["says"])
        for at in report["findings"]["crossovers"]
    ]
    head = ("task", "way", "quantity", "overtakes scikit-learn in one process")
    return "## Crossovers\n\n" + table(head, rows, text=4) if rows else ""


def recommendations(report: Report) -> str:
    """Return what to use for N rows, and what another choice would cost."""
    rows = []
    for one in report["findings"]["recommendations"]:
        wrong = [
            f"{short(r['key'])} {_times(r['time'])} time, {_times(r['memory'])} memory"
            for r in one["regret"]
            if r["key"] != one["use"]
        ]
        size = f"{one['rows']:,}" if one["measured"] else f"{one['rows']:,} (between)"
        own = next(r for r in one["regret"] if r["key"] == one["use"])
        rows.append((one["task"], size, short(one["use"]), _times(own["memory"]), "; ".join(wrong)))
    head = ("task", "rows", "use", "its memory over the least", "regret of another choice")
    return "## What to use for N rows\n\n" + table(head, rows, text=5) if rows else ""


def memory(report: Report) -> str:
    """Return peak memory, processes and the size of a saved model."""
    rows = [
        (
            short(line["key"]),
            f"{line['rows']:,}",
            f"{line['peak_mib']:,.0f}",
            f"{line['rows_mib']:.0f}",
            f"{line['processes']:.0f}",
            f"{line['model_bytes'] / 1024:,.0f}",
            f"{line['model_files']:.0f}",
        )
        for line in usual(report)
        if line["rounds"]
    ]
    head = ("way", "rows", "peak MiB", "of it rows", "processes", "model KiB", "files")
    return "## Memory and what is left\n\n" + table(head, rows) if rows else ""


def _stop(one: Report, report: Report) -> str:
    """Return what ended the climb under a cap."""
    if one["stopped_at"]:
        return f"{one['stopped_at']:,}: {one['stopped_by']}, {one['reason']}"
    sizes = [record["rows"] for record in report["records"] if record["cap_mib"]]
    return "nothing: no more rows are asked for" if one["rows"] >= max(sizes) else "nothing: more was not tried"


def caps(report: Report) -> str:
    """Return the largest size completed under each cap."""
    found = report["findings"]["caps"]
    rows = [
        (
            short(one["key"]),
            str(one["features"]),
            f"{one['cap_mib']:,}",
            f"{one['rows']:,}" if one["rows"] else "none",
            _stop(one, report),
        )
        for one in found
    ]
    limited = ", ".join(dict.fromkeys(one["limited_by"] for one in found if one["limited_by"]))
    head = ("way", "features", "cap MiB", "largest rows completed", "what stopped it")
    return (
        (
            f"## Under a memory cap\n\nThe cap is held by: {limited}. Spark's heap is the cap less 512 MiB, at least "
            "512 MiB.\n\n" + table(head, rows, text=1)
        )
        if rows
        else ""
    )


def heaps(report: Report) -> str:
    """Return the smallest heap that completed."""
    rows = [
        (
            short(one["key"]),
            f"{one['rows']:,}",
            f"{one['least_mib']:,}" if one["least_mib"] else "none tried was enough",
            f"{one['too_small_mib']:,}" if one["too_small_mib"] else "–",
        )
        for one in report["findings"]["heaps"]
    ]
    head = ("way", "rows", "smallest heap MiB that completed", "largest that did not")
    return "## Smallest JVM heap\n\n" + table(head, rows) if rows else ""


def other_sizes(report: Report) -> str:
    """Return what one core and more features change."""
    lines = {(li["key"], li["rows"], li["features"], li["cores"]): li for li in report["findings"]["summary"]}
    rows = []
    for (key, size, features, cores), line in lines.items():
        usual = lines.get((key, size, LEAST_FEATURES, 2))
        if (features, cores) == (LEAST_FEATURES, 2) or not line["rounds"] or not usual or not usual["rounds"]:
            continue
        what = f"{cores} core" if cores != 2 else f"{features} features"
        ratio = line["seconds"]["fit_warm"] / usual["seconds"]["fit_warm"]
        rows.append(
            (
                short(key),
                f"{size:,}",
                what,
                _seconds(line["seconds"]["fit_warm"]),
                _seconds(usual["seconds"]["fit_warm"]),
                f"{ratio:.2f}",
            )
        )
    head = ("way", "rows", "with", "further fit s", f"with 2 cores, {LEAST_FEATURES} features", "ratio")
    return "## One core, more features\n\n" + table(head, rows) if rows else ""


def accuracy(report: Report) -> str:
    """Return errors on held-out rows and what a forecast costs."""
    rows = [
        (
            short(line["key"]),
            f"{line['rows']:,}",
            f"{line['rmse']:.4f}",
            f"{line['r2']:.4f}",
            f"{line['one_row_us']:.0f}",
            f"{line['seconds']['predict'] / 10_000 * 1e6:.2f}",
        )
        for line in usual(report)
        if line["rounds"]
    ]
    spreads = [
        f"- {one['task']}, {one['rows']:,} rows: R² of the same model {one['spread']:.2g} apart "
        f"(gate {findings.R2_GATE}, goal {findings.R2_GOAL}: {_reached(one['reached'], one['near'])})"
        for one in report["findings"]["r2_spread"]
    ]
    head = ("way", "rows", "RMSE", "R²", "one forecast µs", "µs a row of 10,000")
    text = (
        "## Accuracy and cost of a forecast\n\nOn 10,000 held-out rows, the same for all, by one scorer. The loaded "
        "model forecasts without its library's session.\n\n"
    )
    return text + table(head, rows) + "\n\n" + "\n".join(spreads) if rows else ""


def complexity(report: Report) -> str:
    """Return what an engine asks of its users."""
    rows = [
        (
            one["engine"],
            ", ".join(one["modules"]) + (f" (and parts of {', '.join(one['borrows'])})" if one["borrows"] else ""),
            str(one["lines"]),
            str(len(one["concepts"])),
            str(len(one["settings"])),
            f"{len(one['direct'])} / {len(one['transitive'])}",
            ", ".join((*one["beyond_python"], *(f"{name} absent" for name in one["missing"]))) or "–",
        )
        for one in report["complexity"]
    ]
    head = (
        "engine",
        "modules",
        "lines of code",
        "names of the library",
        "settings given",
        "packages direct / all",
        "besides",
    )
    return (
        "## Complexity\n\nCounted by `learning/complexity.py` from this project's own engine modules and the packages' "
        "metadata.\n\n" + table(head, rows, text=2)
    )


def runner(report: Report) -> str:
    """Return what the runner costs over the bare library."""
    rows = [
        (
            short(one["key"]),
            f"{one['rows']:,}",
            f"{one['ours_s']:.3f}",
            f"{one['bare_s']:.3f}",
            f"{one['ratio']:.3f} ({one['range'][0]:.3f}–{one['range'][1]:.3f}, n {one['pairs']})",
            f"{one['cpu_ratio']:.3f}" if one["cpu_ratio"] else "–",
            _reached(one["reached"], one["passed"]),
        )
        for one in report["findings"]["runner"]
    ]
    head = ("way", "rows", "runner s", "bare script s", "ratio (range)", "CPU ratio", "reached")
    return (
        (
            "## What the runner costs\n\nTransfer and fit by this project's engine and by a bare script in the same "
            "process, in turn; forecasts of both are compared. Ratios are of one pair each. Goal at most "
            f"{findings.RUNNER_GOAL}, gate {findings.RUNNER_GATE}.\n\n" + table(head, rows)
        )
        if rows
        else ""
    )


def real_fits(report: Report) -> str:
    """Return the final fits on the real rows, engine by engine and in all."""
    rows = [
        (
            one["engine"],
            f"{one['rows']:,}",
            "; ".join(f"{name} {_seconds(value)}" for name, value in one["seconds"].items()),
            _seconds(one["total_s"]) if not one["reason"] else f"**{one['reason']}**",
            f"{one['peak_mib']:,.0f}",
        )
        for one in report["real_fits"]
    ]
    head = ("engine", "rows", "seconds", "in all", "peak MiB")
    done = [one["total_s"] for one in report["real_fits"] if one["total_s"] is not None]
    said = f"\n\nAll {len(done)} engines together: {sum(done):.1f} s." if len(done) == len(rows) else ""
    return (
        "## Final fits on the real bars\n\nOne process for each engine, cold: import, rows, session, then every "
        "default spec once.\n\n" + table(head, rows) + said
        if rows
        else ""
    )


def runs(report: Report) -> str:
    """Return every measurement."""
    rows = [
        (
            record["run"].rpartition("/")[2],
            record["key"],
            f"{record['rows']:,}",
            str(record["features"]),
            str(record["cores"]),
            _kind(record),
            f"{record['total_s']:.2f}" if record["total_s"] is not None else record["failed"] or "–",
            f"{record['wall_s']:.1f}",
            f"{record['peak_mib']:,.0f}",
            f"{record['busy_before_percent']:.0f}",
        )
        for record in report["records"]
    ]
    head = (
        "run",
        "way",
        "rows",
        "features",
        "cores",
        "kind",
        "start to model s",
        "process s",
        "peak MiB",
        "busy before %",
    )
    return f"## Every measurement of {report['run_id']}\n\n" + table(head, rows, text=2) if rows else ""


def _kind(record: Mapping[str, Any]) -> str:
    if record["pairs"]:
        return f"{record['pairs']} pairs"
    if record["cap_mib"]:
        return f"cap {record['cap_mib']}"
    return f"heap {record['heap_mib']}" if record["round"] == findings.TRIAL else f"round {record['round'] + 1}"


def usual(report: Report) -> list[Mapping[str, Any]]:
    """Return the lines of the summary at two cores and the usual features, contestant by contestant."""
    lines = [li for li in report["findings"]["summary"] if (li["features"], li["cores"]) == (LEAST_FEATURES, 2)]
    order = list(BY_KEY)
    return sorted(lines, key=lambda line: (order.index(line["key"]), line["rows"]))


def short(key: str) -> str:
    """Return a contestant's name for a narrow column."""
    return key.replace("/", " ").replace("_", " ")


def _times(value: float | None) -> str:
    return "did not finish" if value is None else f"{value:.2f}x"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _reached(goal: bool, gate: bool) -> str:
    return "goal" if goal else "gate" if gate else "**past the gate**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], text: int = 1) -> str:
    """Return a Markdown table whose first columns are text and all others right-aligned."""
    line = "|" + "---|" * text + "---:|" * (len(head) - text)
    return "\n".join(["| " + " | ".join(head) + " |", line, *("| " + " | ".join(row) + " |" for row in rows)])
