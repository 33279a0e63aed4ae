"""The value statement as people see it, and whether it may be believed.

Belongs here: tables and the chart of a value report as Markdown, and the verdict on it. Stays out: how the figures are
made (``value``). The verdict computes executions again from the stored sessions, by other code than the backtest's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamlake_assets.flows.svg_charts import markdown_image
from streamlake_assets.flows.svg_lines import Line, line_chart
from streamlake_assets.learning.spec import VERSION_ZERO_PREFIX
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.signals import DISCLAIMER, NOT_ACTIONABLE
from streamlake_assets.market.targets import Target

NAMES: Final = {Target.ADJUSTED_RETURN: "Direction", Target.LOG_RANGE: "Risk"}
_MOST_LINES: Final = 5
_TOLERANCE: Final = 1e-9
"""Relative: two ways to the same product of a few numbers."""


def page(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown: the sentence, then a chart and tables for each target."""
    costs = report["costs"]
    parts = [
        report["summary"],
        f"Executed at the next open; fees {costs['fee_bp']:g} bp and slippage {costs['slippage_bp']:g} bp of the money "
        "traded, each way. Cash earns nothing. Luck: share of the same positions at random times, at equal turnover, "
        "that earn as much. Deflated Sharpe: probability that the ratio against cash is above what the best of the "
        "rules tried shows by chance; in a rising market holding shares passes it too.",
    ]
    for target, name in NAMES.items():
        section = report["sections"].get(target.value)
        if section is not None:
            parts += _section(name, section)
    parts.append(f"Risk signals of the next session: {report['risk_reason']}")
    if report["risk_signals"]:
        parts.append(_risk_signals(report["risk_signals"]))
    return "\n\n".join((*parts, DISCLAIMER))


def judge_value(report: Mapping[str, Any] | None, series: Sequence[SessionSeries]) -> Verdict:
    """Judge a report: executed at the next open, dearer costs earn less, nothing actionable without skill.

    Args:
        report: as ``flows.value.value_report`` made it; None before the first.
        series: the settled sessions now stored.
    """
    if report is None:
        return Verdict(True, "no value report was made yet", {"problems": [], "limit": 0})
    known = {str(one.instrument): one for one in series}
    problems, executions, strategies = [], 0, 0
    for name, section in report["sections"].items():
        executions += len(section["sample"])
        strategies += len(section["strategies"])
        problems += [f"{name}: {found}" for found in _skill_problems(section)]
        problems += [
            f"{name}, {one['name']}: {found}" for one in section["strategies"] for found in _cost_problems(one)
        ]
        problems += [
            f"{name}, {one['instrument']} decided after {one['decided_after']}: {found}"
            for one in section["sample"]
            for found in _execution_problems(one, known.get(one["instrument"]))
        ]
    problems += _signal_problems(report)
    if DISCLAIMER not in report["summary"]:
        problems.append(f'the summary does not say "{DISCLAIMER}"')
    said = "; ".join(problems[:5]) or "as it must be"
    text = f"{executions} executions and {strategies} strategies verified: {said}"
    facts = {"executions": executions, "strategies": strategies, "problems": problems[:20], "limit": 0}
    return Verdict(not problems, text, facts)


def _skill_problems(section: Mapping[str, Any]) -> list[str]:
    version_zero = not section["champion"] or section["champion"].startswith(VERSION_ZERO_PREFIX)
    if section["actionable"] and (section["skill_low"] <= 0 or version_zero):
        return ["called actionable without skill"]
    if not section["actionable"] and section["label"] != NOT_ACTIONABLE:
        return [f'not labelled "{NOT_ACTIONABLE}"']
    return []


def _cost_problems(strategy: Mapping[str, Any]) -> list[str]:
    total, doubled = strategy["total"], strategy["total_at_double_costs"]
    # who has lost everything cannot lose more
    cheaper = doubled >= total if strategy["turnover"] > 0 and total > -1 else doubled != total
    return [f"earns {doubled:.4%} at double costs, {total:.4%} at single ones"] if cheaper else []


def _execution_problems(execution: Mapping[str, Any], series: SessionSeries | None) -> list[str]:
    """Find the execution again in the stored sessions: the session after the decision, its open, the open after."""
    if series is None:
        return ["no session of the instrument is stored"]
    sessions = [from_ordinal(day).isoformat() for day in series.sessions]
    if execution["decided_after"] not in sessions:
        return ["that session is not stored"]
    place = sessions.index(execution["decided_after"]) + 1
    if place + 1 >= len(sessions):
        return ["no session follows in which it could have earned"]
    problems = []
    if execution["executed"] != sessions[place]:
        problems.append(f"executed {execution['executed']}, the next session is {sessions[place]}")
    bought, sold = float(series.open[place]), float(series.open[place + 1])
    if not math.isclose(execution["price"], bought, rel_tol=_TOLERANCE):
        problems.append(f"executed at {execution['price']}, the next open is {bought}")
    growth = sold / bought / float(series.factor[place + 1])
    if not math.isclose(execution["growth"], growth, rel_tol=_TOLERANCE):
        problems.append(f"credited with {execution['growth']:.6f}, from open to open it is {growth:.6f}")
    return problems


def _signal_problems(report: Mapping[str, Any]) -> list[str]:
    return [
        f"risk signal for {one['symbol']} {one['session']}: {found}"
        for one in report["risk_signals"]
        for found, wrong in (
            ("from version 0", one["model_version"].startswith(VERSION_ZERO_PREFIX)),
            ("without the disclaimer", one["disclaimer"] != DISCLAIMER),
        )
        if wrong
    ]


def _section(name: str, section: Mapping[str, Any]) -> list[str]:
    sessions, capital = section["curves"]["sessions"], section["curves"]["capital"]
    title = f"{name}: capital after costs, from 1"
    lines = [Line(each, values) for each, values in capital.items()][:_MOST_LINES]
    skill = f"skill {section['skill']:.4f}, 95 % interval {section['skill_low']:.4f} to {section['skill_high']:.4f}"
    parts = [
        f"### {name}" + (f" ({section['label']})" if section["label"] else ""),
        f"`{section['spec']}`, out of fold: {skill}; {section['first_session']} to {section['last_session']}.",
        markdown_image(title, line_chart(title, lines, (sessions[0], sessions[-1]))),
        _table(
            ("strategy", "a year", "Sharpe", "largest fall", "gross a year", "turnover a year", "trades", "break-even",
             "total", "total at double costs", "luck", "deflated Sharpe"),
            [_strategy_cells(each) for each in section["strategies"]],
        ),
    ]  # fmt: skip
    if "guides" in section:
        better = section["better_than_baseline"]
        said = "; ".join(
            f"{loss} {found['share']:.2%} smaller ({found['low']:.2%} to {found['high']:.2%})"
            for loss, found in better.items()
        )
        parts += [
            f"Target: a volatility of {section['target_volatility']:.2%} a session by Parkinson's measure, size at "
            f"most {section['largest_size']:g}. Miss: mean distance of the realised risk from the target. Spread: its "
            f"standard deviation over its mean. Against the moving average the model's losses are: {said}.",
            _table(
                ("guide", "mean size", "miss", "spread", "QLIKE", "utility a year"),
                [
                    (each["name"], f"{each['size']:.2f}", f"{each['miss']:.1%}", f"{each['spread']:.3f}",
                     f"{each['qlike']:.4f}", f"{each['utility']:.2%}")
                    for each in section["guides"]
                ],
            ),
        ]  # fmt: skip
    return parts


def _strategy_cells(each: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        each["name"],
        f"{each['annualised']:.1%}",
        _number(each["sharpe"], ".2f"),
        f"{each['drawdown']:.0%}",
        f"{each['gross_annualised']:.1%}",
        f"{each['turnover_yearly']:.1f}",
        f"{each['trades']:,}",
        _number(each["break_even_bp"], ".1f", " bp"),
        f"{each['total']:.0%}",
        f"{each['total_at_double_costs']:.0%}",
        _number(each.get("luck"), ".1%"),
        _number(each.get("deflated_sharpe"), ".3f"),
    )


def _risk_signals(signals: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("instrument", "session", "size", "why", "model"),
        [
            (f"{one['symbol']} {one['exchange']}", one["session"], f"{one['size']:.2f}", one["reason"],
             one["model_version"])
            for one in signals
        ],
    )  # fmt: skip


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
