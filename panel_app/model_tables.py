"""The stored reports on models as HTML: benchmark, certificate, claims audit, value, the register; facts in, text out.

Belongs here: tables and sentences out of a report's plain data. Stays out: making reports (they are read as they lie
in the document store), pictures (``charts``), the view around them. A report that another version wrote may lack a
part: what is not there is not shown.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from panel_app import tables
from panel_app.charts import LINES
from panel_app.tables import Cell
from streamlake_assets.stores.model_register import RegisteredModel

Report = Mapping[str, Any]
NOT_MADE: Final = "not made yet: run `streamlake demo --reports`"
_USUAL_CORES: Final = 2
_ENGINE_COLOURS: Final = {"sklearn": LINES[0], "dask": LINES[1], "spark": LINES[2], "xgboost": LINES[3]}


def not_made(title: str) -> str:
    """Return what stands in place of a report that was never made."""
    return tables.section(title, tables.paragraph(NOT_MADE, "quiet"))


def made_at(report: Report) -> str:
    """Return when a report was made."""
    value = report.get("made_at")
    return tables.moment(value) if isinstance(value, dt.datetime) else f"{str(value)[:19].replace('T', ' ')} UTC"


def verdict(report: Report) -> str:
    """Return the benchmark's verdict, why, and when to change."""
    found = report["findings"]["verdict"]
    machine = report["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    note = f"run {report['run_id']}, profile {report['profile']}, {made_at(report)}; {where}"
    parts = [f'<p class="lead">{escape(found["says"])}</p>']
    for title, lines in (("Why", found["reasons"]), ("When to change", found["change"])):
        if lines:
            parts.append(f"<h3>{title}</h3>{tables.bullets(lines)}")
    if report["missing"]:
        parts.append("<h3>Missing here</h3>" + tables.bullets(f"{k}: {v}" for k, v in report["missing"].items()))
    return tables.section("Which engine", *parts, note=note)


def certificate(report: Report) -> str:
    """Return whether the engines fit the same models, and what was compared."""
    found = report["certificate"]
    checks = found["checks"]
    passed = sum(bool(check["passed"]) for check in checks)
    tone, said = ("ok", "valid") if found["valid"] else ("bad", "not valid: nothing was timed")
    head = f'<p><span class="badge {tone}">{said}</span> {passed} of {len(checks)} comparisons hold</p>'
    rows = [
        (
            check["engine"],
            check.get("algorithm", ""),
            check.get("on", ""),
            check.get("what", check.get("note", "")),
            _number(check.get("measured")),
            _number(check.get("expected")),
            _number(check.get("tolerance")),
            Cell("holds", "ok") if check["passed"] else Cell("fails", "bad"),
        )
        for check in sorted(checks, key=lambda check: bool(check["passed"]))
    ]
    columns = ("engine", "algorithm", "on", "what", "measured", "expected", "tolerance", "verdict")
    shown = tables.details(f"all {len(checks)} comparisons", tables.table(columns, rows, text=4))
    return tables.section("Parity certificate", head, tables.bullets(found["findings"]), shown)


def usual(report: Report) -> list[Mapping[str, Any]]:
    """Return the summary's lines at two cores and the fewest features, as all charts and tables show them."""
    lines = [line for line in report["findings"]["summary"] if line["cores"] == _USUAL_CORES]
    least = min((line["features"] for line in lines), default=0)
    return [line for line in lines if line["features"] == least]


def curves(report: Report, task: str) -> dict[str, dict[int, float]]:
    """Return seconds from start to model by rows for each way of a task (``linear``, ``forest``)."""
    found: dict[str, dict[int, float]] = {}
    for line in usual(report):
        if task in line["key"] and line["rounds"] and line["total_s"] > 0:
            found.setdefault(_name(line["key"]), {})[line["rows"]] = line["total_s"]
    return found


def peaks(report: Report) -> list[tuple[str, float]]:
    """Return peak memory in MiB of each way at the largest size that most ways finished."""
    lines = [line for line in usual(report) if line["rounds"]]
    counts: dict[int, int] = {}
    for line in lines:
        counts[line["rows"]] = counts.get(line["rows"], 0) + 1
    if not counts:
        return []
    most = max(counts.values())
    rows = max(size for size, count in counts.items() if count == most)
    return [(f"{_name(line['key'])}, {rows:,} rows", line["peak_mib"]) for line in lines if line["rows"] == rows]


def colour(way: str) -> str:
    """Return the colour of a way's engine, the same in every picture."""
    return next((found for engine, found in _ENGINE_COLOURS.items() if way.startswith(engine)), LINES[-1])


def colours(ways: Iterable[str]) -> dict[str, str]:
    """Return a colour for each way of one picture: its engine's, or for a second way of that engine a free one."""
    found: dict[str, str] = {}
    for way in ways:
        own = colour(way)
        free = (one for one in LINES if one not in (*_ENGINE_COLOURS.values(), *found.values()))
        found[way] = own if own not in found.values() else next(free, LINES[-1])
    return found


def times(report: Report) -> str:
    """Return time, memory and accuracy by way and size."""
    rows = [
        (
            _name(line["key"]),
            f"{line['rows']:,}",
            f"{line['total_s']:.2f} s" if line["rounds"] else Cell(line["failed"], "bad"),
            f"{line['seconds']['fit_cold']:.2f} s" if line["rounds"] else "–",
            f"{line['cpu_s']:.1f} s" if line["rounds"] else "–",
            f"{line['peak_mib']:,.0f}" if line["rounds"] else "–",
            f"{line['r2']:.4f}" if line["rounds"] else "–",
        )
        for line in usual(report)
    ]
    head = ("way", "rows", "start to model", "first fit", "CPU", "peak MiB", "R²")
    return tables.table(head, rows, empty="nothing was timed")


def crossovers(report: Report) -> str:
    """Return where each way overtakes one process, and what to use for N rows."""
    found = report["findings"]["crossovers"]
    rows = [(at["task"], _name(at["key"]), _quantity(at["quantity"]), at["says"]) for at in found]
    over = tables.table(("task", "way", "quantity", "overtakes scikit-learn in one process"), rows, text=4)
    uses = [
        (one["task"], f"{one['rows']:,}" + ("" if one["measured"] else " (between)"), _name(one["use"]), _regret(one))
        for one in report["findings"]["recommendations"]
    ]
    use = tables.table(("task", "rows", "use", "another choice costs"), uses, text=4)
    return tables.section("Crossovers", over) + tables.section("What to use for N rows", use)


def caps(report: Report) -> str:
    """Return the largest sizes completed under each memory cap."""
    rows = [
        (
            _name(one["key"]),
            str(one["features"]),
            f"{one['cap_mib']:,}",
            f"{one['rows']:,}" if one["rows"] else "none",
            f"{one['stopped_at']:,}: {one['stopped_by']}" if one["stopped_at"] else "the ladder ended",
        )
        for one in report["findings"]["caps"]
    ]
    head = ("way", "features", "cap MiB", "largest rows completed", "stopped at")
    shown = tables.table(head, rows, last=1, empty="no memory caps in this profile: the full one has them")
    return tables.section("Under a memory cap", shown)


def complexity(report: Report) -> str:
    """Return what using an engine takes."""
    rows = [
        (
            one["engine"],
            str(one["lines"]),
            str(len(one["concepts"])),
            str(len(one["settings"])),
            f"{len(one['direct'])} / {len(one['transitive'])}",
            ", ".join((*one["beyond_python"], *(f"{name} absent" for name in one["missing"]))) or "–",
        )
        for one in report["complexity"]
    ]
    head = ("engine", "lines of code", "names of the library", "settings", "packages direct / all", "besides")
    return tables.section(
        "Complexity", tables.table(head, rows, last=1), note="counted from this project's engine modules"
    )


def claims(report: Report) -> str:
    """Return each famous figure, its reproduction with the mistake, and the honest figure."""
    rows = [
        (
            one["system"],
            one["claim"],
            "none given" if one["reported"] is None else f"{one['reported']:g}",
            f"{one['made']['value']:.4f}",
            f"{one['real']['value']:.4f}",
            f"{one['honest']['skill']:+.4f} ({one['honest']['low']:+.4f} to {one['honest']['high']:+.4f})",
            one["why"],
        )
        for one in report["claims"]
    ]
    head = ("system", "claim", "reported", "made bars", "real bars", "honest skill (95 %)", "why it is a bug")
    note = f"{made_at(report)}; real bars of {', '.join(report['instruments'])}; skill over zero, next session's return"
    return tables.section("Claims audit", tables.table(head, rows, text=2, last=1), note=note)


def value(report: Report) -> str:
    """Return the value statement: its sentence, and each strategy after costs."""
    parts = [f'<p class="lead">{escape(report["summary"])}</p>']
    for name, one in report["sections"].items():
        label = Cell("actionable", "ok").text if one["actionable"] else one["label"]
        rows = [
            (line["name"], _percent(line.get("total")), _number(line.get("sharpe")), _number(line.get("luck")))
            for line in one["strategies"]
        ]
        head = ("strategy", "total after costs", "Sharpe", "luck")
        parts.append(f"<h3>{escape(f'{name}: {label}')}</h3>{tables.table(head, rows)}")
    return tables.section("What forecasts are worth in money", *parts, note=made_at(report))


def register(models: Sequence[RegisteredModel]) -> str:
    """Return the registered models, the newest first, with skill and interval."""
    rows = [
        (
            one.version,
            one.name,
            one.engine,
            one.target.value,
            "–" if one.skill is None else f"{one.skill:+.2%}",
            "–"
            if one.skill_low is None or one.skill_high is None
            else f"{one.skill_low:+.2%} to {one.skill_high:+.2%}",
            Cell("skill", "ok") if one.has_skill else Cell("no skill", "quiet"),
            f"{one.manifest['rows']:,}" if isinstance(one.manifest.get("rows"), int) else "–",
            one.data_hash[:12],
            tables.moment(one.registered_at),
        )
        for one in models
    ]
    head = ("version", "spec", "engine", "target", "skill", "95 %", "gate", "rows", "data hash", "registered")
    shown = tables.table(head, rows, text=4, empty="no model is registered yet")
    return tables.section("Registered models", shown, note="skill over the baseline, out of fold")


def _regret(one: Mapping[str, Any]) -> str:
    others: Iterable[Mapping[str, Any]] = (each for each in one["regret"] if each["key"] != one["use"])
    return "; ".join(f"{_name(each['key'])} {_times(each['time'])} the time" for each in others)


def _times(value: float | None) -> str:
    return "did not finish in" if value is None else f"{value:.2f}x"


def _name(key: str) -> str:
    return key.replace("/", " ").replace("_", " ")


def _quantity(name: str) -> str:
    return {"total_s": "start to model", "fit_cold": "first fit", "fit_warm": "further fit"}.get(name, name)


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) and math.isfinite(value) else "–"


def _percent(value: Any) -> str:
    return f"{value:+.1%}" if isinstance(value, int | float) and math.isfinite(value) else "–"
