"""A result as a Markdown report with charts: figures first, then how they were measured, then every raw run.

Belongs here: words and tables out of a result. Stays out: arithmetic (``figures``), gates (``gates``), drawing
(``charts``).
"""

from collections.abc import Mapping
from typing import Any

from benchmarks import asked_report, charts, figures, gates
from benchmarks.cases import train
from benchmarks.figures import Figure, Histogram
from benchmarks.markdown import number, span, table

_WORDS = {
    "limit": "LOAD DATA of a ready file (the limit)",
    "ours": "the consumer",
    "replay": "the consumer, rows stored already",
    "executemany": "executemany loop, same decoder and offsets",
    "debezium": "Debezium JDBC sink",
    "per-message": "one message at a time, ORM, both commits",
    "per-message-sql": "one message at a time, SQL, one commit",
    "store": "store alone, decoded slices",
    "store-bare": "the same without offset, batch, touches",
    "one": "one member of the group",
    "two": "two members of the group",
}
_SIDES = ("client", "client-1", "mysql", "broker")


def report(result: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the report's text, and its charts by file name; training has a page of its own, here or at the end."""
    page, charts_of_training = train.report(result["train"]) if "train" in result else ("", {})
    asked = asked_report.sections(result.get("asked", {}))
    if "servers" not in result:
        chain = [_servers_of_chain(result), _chain(result)] if result.get("chain") else []
        if not asked and not chain:
            return page, charts_of_training
        blocks = [f"{_title(result)}.", _machine(result), *chain, *asked, page]
        return "\n\n".join(block for block in blocks if block) + "\n", charts_of_training
    found = figures.summary(result)
    pictures = _pictures(result)
    blocks = [
        _head(result),
        _gates(result, found),
        _throughput(result, found),
        *(f"![{name.removesuffix('.svg')}]({name})" for name in pictures if name.startswith(("throughput", "cpu"))),
        _latency(result),
        *(f"![{name.removesuffix('.svg')}]({name})" for name in pictures if name.startswith("latency")),
        _server_share(result),
        _memory(result),
        _others(result),
        _by_partitions(result),
        _chain(result),
        *asked,
        _not_run(result),
        _method(result),
        _raw(result),
        page,
    ]
    return "\n\n".join(block for block in blocks if block) + "\n", pictures | charts_of_training


def _title(result: Mapping[str, Any]) -> str:
    made_at = result["made_at"][:16].replace("T", " ")
    return f"# Benchmarks, profile {result['profile']}\n\n{made_at} UTC, commit {result['commit']}"


def _machine(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; "
        f"Python {machine['python']}; load before the run {machine['load_before'][0]}."
    )


def _servers_of_chain(result: Mapping[str, Any]) -> str:
    return f"Servers: {'; '.join(result['chain'][0]['servers'])}."


def _head(result: Mapping[str, Any]) -> str:
    servers = result["servers"]
    return (
        f"{_title(result)}, {result['rows']:,} messages of "
        f"{servers.get('message_bytes', '?')} bytes, {result['rounds']} rounds after a warm-up, "
        f"{result.get('took_s', 0) // 60} min.\n\n"
        f"{_machine(result)}\n\nServers: {servers['kafka']}; {servers['mysql']}."
    )


def _server_share(result: Mapping[str, Any]) -> str:
    found = result.get("server_share", [])
    if not found:
        return ""
    rows = [
        (
            one["way"],
            f"{one['server_us']:.1f} ({one['server_us_range'][0]:.1f} to {one['server_us_range'][1]:.1f})",
            f"{one['wall_us']:.1f}",
        )
        for one in found
    ]
    return (
        "## Where the server's time goes\n\nThe same rows, ready as text, written in other ways; see "
        "`benchmarks/cases/server_share.py`.\n\n" + table(("way", "MySQL µs/row", "wall µs/row"), rows)
    )


def _gates(result: Mapping[str, Any], found: Mapping[str, Figure]) -> str:
    rows = []
    for verdict in gates.judge(found):
        gate, sign = verdict.gate, "≥" if verdict.gate.least else "≤"
        unit = f" {gate.unit}" if gate.unit else ""
        state = "goal" if verdict.reached else "gate" if verdict.passed else "**past the gate**"
        rows.append(
            (
                gate.what,
                f"{span(verdict.value)}{unit}" if verdict.value else "not run",
                f"{sign} {gate.gate:g}{unit}",
                f"{sign} {gate.goal:g}{unit}",
                state if verdict.value else "–",
            )
        )
    text = "## Gates and goals\n\n" + table(
        ("measure", "median (range of the rounds)", "gate", "goal", "reached"), rows
    )
    reasons = gates.refusals(result, found)
    return text + ("\n\nNot to be judged: " + "; ".join(reasons) + "." if reasons else "")


def _throughput(result: Mapping[str, Any], found: Mapping[str, Figure]) -> str:
    rows = []
    for case in figures.cases(result):
        rate = figures.rate(result, case)
        if rate is None:
            continue
        share = figures.ratio(result, case, figures.REFERENCE)
        cpu = figures.cpu_per_row(result, case)
        peak = figures.peak_mib(result, case)
        rows.append(
            (
                _WORDS.get(case, case),
                span(rate),
                span(share) if share else "–",
                *(f"{cpu[side]:.1f}" if side in cpu else "–" for side in ("client", "mysql", "broker")),
                f"{peak.median:.0f}" if peak else "–",
            )
        )
    if not rows:
        return ""
    head = ("case", "rows/s", "of the limit", "client µs/row", "MySQL µs/row", "broker µs/row", "client peak MiB")
    others = [
        f"{what}: {span(found[name])}."
        for name, what in (
            ("ours/per-message-sql", "Consumer / one message at a time with plain SQL and one commit"),
            ("replay/fresh", "Rows stored already / fresh rows"),
            ("two/one", "Two members / one"),
            ("rss-debezium", "Peak memory of the Debezium sink's JVM in MiB, beside the consumer's above"),
        )
        if name in found
    ]
    return (
        "## Throughput\n\n" + table(head, rows) + ("\n\n" + "\n".join(f"- {line}" for line in others) if others else "")
    )


def _latency(result: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{point['rate']:,}",
            *(number(point[name]) for name in ("p50_ms", "p99_ms", "max_ms", "late_p99_ms")),
            ", ".join(f"{name} {used}" for name, used in point["cores"].items()),
            f"{point['sent']:,}",
        )
        for point in result.get("latency", [])
    ]
    head = ("messages/s", "p50 ms", "p99 ms", "max below ms", "producer late, p99 ms", "cores used", "messages")
    lines = [
        f"- The `consume(5000, 0.1)` loop at {point['rate']:,} messages/s: p50 {number(point['p50_ms'])} ms, "
        f"p99 {number(point['p99_ms'])} ms."
        for point in result.get("latency_loop", [])
    ]
    if not rows:
        return ""
    return "\n\n".join(["## From event to row", table(head, rows), *(["\n".join(lines)] if lines else [])])


def _memory(result: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{point['waiting']:,}",
            *(number(point[name]) for name in ("settled_mib", "peak_mib", "away_s", "drained_s")),
        )
        for point in result.get("memory", [])
    ]
    head = ("messages waiting", "settled MiB, database away", "peak MiB", "away s", "then drained in s")
    return "## Memory while messages wait\n\n" + table(head, rows) if rows else ""


def _others(result: Mapping[str, Any]) -> str:
    notes = result.get("notes", [])
    return "## Notes\n\n" + "\n".join(f"- {note}" for note in notes) if notes else ""


def _by_partitions(result: Mapping[str, Any]) -> str:
    runs = [run for run in result.get("by_partitions", []) if run["round"] > 0]
    rows = []
    for partitions in sorted({run["partitions"] for run in runs}):
        part = {"runs": [run for run in runs if run["partitions"] == partitions]}
        rate, share = figures.rate(part, "ours"), figures.ratio(part, "ours", figures.REFERENCE)
        if rate and share:
            rows.append((str(partitions), span(rate), span(share)))
    return "## By partitions\n\n" + table(("partitions", "consumer, rows/s", "of the limit"), rows) if rows else ""


def _chain(result: Mapping[str, Any]) -> str:
    blocks = []
    for case in result.get("chain", []):
        names = list(dict.fromkeys(name for one in case["rounds"] for name in one))
        rows = []
        for name in names:
            value = figures.figure([one[name] for one in case["rounds"] if name in one])
            if value:
                rows.append((name, span(value)))
        blocks.append(f"### {case['case']}\n\n" + table(("figure", "median (range)"), rows))
    return "## The whole chain\n\n" + "\n\n".join(blocks) if blocks else ""


def _not_run(result: Mapping[str, Any]) -> str:
    rows = [f"- {case}: {reason}" for case, reason in result.get("not_run", {}).items()]
    return "## Not run\n\n" + "\n".join(rows) if rows else ""


def _method(result: Mapping[str, Any]) -> str:
    variables = ", ".join(f"{name}={value}" for name, value in result["servers"].get("variables", {}).items())
    packages = ", ".join(f"{name} {version}" for name, version in result["machine"]["packages"].items())
    busy = [run["busy_before_percent"] for run in result["runs"]]
    idle = f"Processors were up to {max(busy):.0f} % busy before a run. " if busy else ""
    return (
        "## How it was measured\n\n"
        "Every round runs each case once, on the same servers, into the same empty tables, from the same topic; "
        f"ratios are taken inside a round. {idle}After every run the number of rows, the sum of volumes, a digest of "
        "keys and prices and the stored offsets were compared with what was sent. What each case times is told in "
        "`docs/benchmarks/README.md`.\n\n"
        f"MySQL: {variables}.\n\nPackages: {packages}."
    )


def _raw(result: Mapping[str, Any]) -> str:
    rows = [
        (
            run["case"],
            str(run["round"]) if run["round"] else "warm-up",
            f"{run['rate']:,.0f}",
            f"{run['rows']:,}",
            f"{run['seconds']:.2f}",
            "; ".join(f"{side} {run['cpu_s'][side]:.2f}" for side in _SIDES if side in run["cpu_s"]),
            "; ".join(f"{side} {run['peak_mib'][side]:.0f}" for side in _SIDES if side in run["peak_mib"]),
            f"{run['busy_before_percent']:.0f}",
        )
        for run in result["runs"]
    ]
    head = ("case", "round", "rows/s", "rows", "s", "CPU s", "peak MiB", "busy before %")
    return "## Every run\n\n" + table(head, rows) if rows else ""


def _pictures(result: Mapping[str, Any]) -> dict[str, str]:
    pictures = {}
    fast = [case for case in figures.cases(result) if figures.rate(result, case)]
    if fast:
        rows = []
        for case in fast:
            rate = figures.rate(result, case)
            if rate:
                rows.append(charts.Bar(case, [charts.Part("", rate.median)], f"{number(rate.median)} rows/s"))
        pictures["throughput.svg"] = charts.bars("Throughput, rows/s", rows)
        costs = []
        for case in fast:
            cpu = figures.cpu_per_row(result, case)
            parts = [charts.Part(side, cpu[side]) for side in ("client", "mysql", "broker") if side in cpu]
            if not case.startswith("per-message"):
                costs.append(charts.Bar(case, parts, f"{sum(part.value for part in parts):.1f} µs"))
        pictures["cpu.svg"] = charts.bars("Processor time for each row, µs", costs)
    for point in result.get("latency", []):
        pictures[f"latency-{point['rate']}.svg"] = _latency_chart(point)
    return pictures


def _latency_chart(point: Mapping[str, Any]) -> str:
    edges = tuple(float(edge) for edge in point["histogram"]["edges_s"])
    found = Histogram(edges, tuple(point["histogram"]["counts"]))
    last = max((place for place, count in enumerate(found.counts) if count), default=0)
    labels = [number(edge * 1000) for edge in edges[: last + 1]]
    wanted = found.quantile(0.99)
    mark = next((place for place, edge in enumerate(edges) if edge >= wanted), last)
    return charts.columns(
        f"From event to row at {point['rate']:,} messages/s: messages by milliseconds (upper edge of the bucket)",
        labels,
        found.counts[: last + 1],
        [(mark, f"p99 {number(point['p99_ms'])} ms")],
    )


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what changed between two results, figure by figure."""
    old, new = figures.summary(before), figures.summary(after)
    rows = []
    for name in [*old, *(name for name in new if name not in old)]:
        first, second = old.get(name), new.get(name)
        change = f"{second.median / first.median - 1:+.1%}" if first and second and first.median else "–"
        rows.append((name, span(first) if first else "–", span(second) if second else "–", change))
    if before["machine"]["processor"] != after["machine"]["processor"]:
        rows.append(("on other processors", before["machine"]["processor"], after["machine"]["processor"], "–"))
    return table(("figure", f"A ({before['commit']})", f"B ({after['commit']})", "change"), rows)
