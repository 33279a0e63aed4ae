"""The claims audit as a report: from the feature buckets to a stored record, its verdict, and a page with charts.

Belongs here: reading the bars, storing the report, judging it, putting it into words and charts. Stays out: measuring
(``learning.claims``), drawing (``svg_charts``), Dagster.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.svg_charts import Bar, bar_chart, markdown_image
from streamlake_assets.learning.claims_stated import STATEMENTS, SYSTEMS
from streamlake_assets.market.quality import Verdict
from streamlake_assets.stores.documents import DocumentStore

REPORT: Final = "claims_audit"
HONEST_LIMIT: Final = 0.05
"""Share of the variance of next-session returns above which a figure called honest is a leak: it would be a correlation
of 0.22 between forecast and return."""
RMSE_LIMIT: Final = 0.01
"""How far the error of the filter pass may be from that of refit at each step."""
QUICK_SEEDS: Final = tuple(range(5))
_PARTS: Final = (("made", "made bars"), ("real", "real bars"))


def make_claims_audit(documents: DocumentStore, now: dt.datetime, *, quick: bool = False) -> dict[str, Any]:
    """Audit every claim on the stored bars, compare the ways of ARIMA on the longest of them, store the report.

    Args:
        documents: where the feature buckets are read and the report is put.
        now: aware time of the report.
        quick: fewer bars and seeds.

    Raises:
        UsageError: no documents yet, or no instrument has enough of them.
    """
    import numpy as np

    from streamlake_assets.learning import claims
    from streamlake_assets.learning.arima import compare_arima, return_skill
    from streamlake_assets.learning.claims_made import adjusted_bars, usable

    series = documents.series()
    if not series:
        raise UsageError("no documents yet: publish bars, then refresh the documents (`streamlake cache`)")
    profile, seeds = (claims.QUICK, QUICK_SEEDS) if quick else (claims.FULL, claims.SEEDS)
    audited = claims.audit(series, seeds=seeds, profile=profile)
    longest = max(usable(series)[0], key=len)
    bars = adjusted_bars(longest, profile.walk_sessions)
    on_returns = return_skill(np.log(bars.close), bars.sessions)
    arima = {"instrument": bars.name, **compare_arima(bars.close).to_dict(), "return_skill": asdict(on_returns)}
    report = {**audited.to_dict(), "arima": arima, "made_at": now}
    documents.put_report(REPORT, report)
    return report


def judge_claims(report: Mapping[str, Any] | None) -> Verdict:
    """Judge a report: every claim is there, reproduced inside its band, and no honest figure is too good to be true.

    The bands are those of the code, not those that stand in the report.
    """
    if report is None:
        return Verdict(True, "no claims audit was made yet", {"claims": 0, "honest_limit": HONEST_LIMIT})
    found = {claim["id"]: claim for claim in report["claims"]}
    problems = [problem for one in STATEMENTS for problem in _problems(found.get(one.id), one.id, one.band)]
    for regression in report["regressions"]:
        if not regression["honest"]["skill"] <= HONEST_LIMIT:
            problems.append(f"{regression['name']}: honest skill {regression['honest']['skill']:.4f}")
    ratio = report["arima"]["rmse_ratio"]
    if not abs(ratio - 1) <= RMSE_LIMIT:
        problems.append(f"ARIMA by one pass has {ratio:.4f} times the error of refit")
    facts = {
        **{f"{name}_{part}": found[name][part]["value"] for name in found for part, _ in _PARTS},
        "arima_rmse_ratio": ratio,
        "honest_limit": HONEST_LIMIT,
        "problems": problems,
    }
    text = f"{len(found)} claims; {'; '.join(problems) or 'each reproduced, none with honest skill'}"
    return Verdict(not problems, text, facts)


def claims_table(report: Mapping[str, Any]) -> list[dict[str, str | float | None]]:
    """Return one row for each claim: reported, reproduced on made and on real bars, honest."""
    return [
        {
            "claim": claim["claim"],
            "system": claim["system"],
            "reported": claim["reported"],
            "made_bars": claim["made"]["value"],
            "real_bars": claim["real"]["value"],
            "honest_skill": claim["honest"]["skill"],
            "honest_low": claim["honest"]["low"],
            "honest_high": claim["honest"]["high"],
            "why_it_is_a_bug": claim["why"],
        }
        for claim in report["claims"]
    ]


def claims_page(report: Mapping[str, Any]) -> str:
    """Return the audit as one Markdown page: a section with a chart for each claim, Kappa's regressions, ARIMA."""
    sections = [
        f"Figures are medians over {len(report['seeds'])} random walks (made bars) and over "
        f"{', '.join(report['instruments'])} (real bars). Honest is the skill over zero of forecasts of the next "
        "session's return, with its 95 % interval. Not investment advice.",
        "\n".join(f"- {name}: {text}" for name, text in SYSTEMS.items()),
        *(_section(claim) for claim in report["claims"]),
        _regressions(report["regressions"]),
        _arima(report["arima"]),
    ]
    if report["left_out"]:
        sections.append("Left out: " + "; ".join(f"{name}: {reason}" for name, reason in report["left_out"]))
    return "\n\n".join(sections)


def _problems(claim: Mapping[str, Any] | None, name: str, band: tuple[float, float]) -> Iterator[str]:
    if claim is None:
        yield f"{name}: not audited"
        return
    for part, title in _PARTS:
        value = claim[part]["value"]
        if not band[0] <= value <= band[1]:
            yield f"{name}: {value:.4f} on {title}, not {band[0]:g} to {band[1]:g}"
    for part in ("honest_made", "honest"):
        if not claim[part]["skill"] <= HONEST_LIMIT:
            yield f"{name}: {part} skill {claim[part]['skill']:.4f}, above {HONEST_LIMIT:g}"


def _section(claim: Mapping[str, Any]) -> str:
    rows = [_reported("reported", claim["reported"])]
    rows += [
        Bar(f"reproduced, {title}", _shown(claim[part]["value"]), **_ends(claim[part]), colour=1 + number)
        for number, (part, title) in enumerate(_PARTS)
    ]
    rows += [
        _honest("honest skill, made bars", claim["honest_made"], 3),
        _honest("honest skill, real bars", claim["honest"], 4),
    ]
    steps = [
        f"| {step['name']} | {_spread(step['made'])} | {_spread(step['real'])} |"
        for step in [{"name": claim["measure"], "made": claim["made"], "real": claim["real"]}, *claim["steps"]]
    ]
    return "\n".join(
        [
            f"### {claim['system']}: {claim['claim']}",
            "",
            markdown_image(f"{claim['id']}: reported, reproduced, honest", bar_chart(claim["measure"], rows)),
            "",
            f"- The mistake: {claim['how']}",
            f"- Why it is a bug: {claim['why']}",
            f"- Honest figure ({claim['honest_question']}): {_interval(claim['honest'])}",
            "",
            "| median (lowest to highest) | made bars | real bars |",
            "|---|---|---|",
            *steps,
        ]
    )


def _regressions(regressions: list[dict[str, Any]]) -> str:
    rows: list[Bar] = []
    table = [
        "| estimator | R2 reported | R2, made bars | R2, real bars | MSE reported | MSE, made bars | honest skill |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in regressions:
        name = one["name"]
        rows.append(_reported(f"{name}, reported", one["reported_r2"]))
        for number, (part, title) in enumerate(_PARTS):
            figure = one[f"{part}_r2"]
            rows.append(Bar(f"{name}, {title}", _shown(figure["value"]), **_ends(figure), colour=1 + number))
        rows.append(_honest(f"{name}, honest skill", one["honest"], 4))
        table.append(
            f"| {name} | {one['reported_r2']} | {_spread(one['made_r2'])} | {_spread(one['real_r2'])} "
            f"| {one['reported_mse']} | {one['made_mse']['value']:.3g} | {_interval(one['honest'])} |"
        )
    chart = bar_chart("R2 of the close from the volume, each bar indexed five times", rows)
    title = "### Kappa: three regressions of the close on the volume"
    return "\n".join([title, "", markdown_image("Kappa's regressions", chart), "", *table])


def _arima(arima: Mapping[str, Any]) -> str:
    rows = [
        f"| {part['name']} | {'each step' if part['refits'] else 'once'} | {part['seconds'] * 1e3:.3g} "
        f"| {part['rmse']:.6g} | {part['most_apart']:.2g} |"
        for part in (arima[name] for name in ("refit", "filter_pass", "recursion", "least_squares"))
    ]
    return "\n".join(
        [
            f"### ARIMA(1,1,0) on {arima['instrument']}: {arima['steps']} one-step forecasts after {arima['train']}",
            "",
            "| way | phi estimated | ms | RMSE | most apart from refit |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"The last price repeated: RMSE {arima['persistence_rmse']:.6g}. The filter pass takes 1/"
            f"{arima['speed_up']:.0f} of the time of refit at each step (1/{arima['speed_up_with_fit']:.0f} with its "
            f"one estimation of phi) and has {arima['rmse_ratio']:.4f} times its error.",
            f"On log returns, over zero: skill {_interval(arima['return_skill'])}.",
        ]
    )


def _reported(name: str, value: float | None) -> Bar:
    return Bar(name, "no figure given" if value is None else f"{value:g}", value)


def _honest(name: str, honest: Mapping[str, Any], colour: int) -> Bar:
    return Bar(name, f"{honest['skill']:.4f}", honest["skill"], honest["low"], honest["high"], colour)


def _ends(figure: Mapping[str, Any]) -> dict[str, float]:
    return {name: figure[name] for name in ("value", "low", "high")}


def _shown(value: float) -> str:
    return f"{value:.6f}" if 0.9995 <= value < 1 else f"{value:.4f}"


def _spread(figure: Mapping[str, Any]) -> str:
    return f"{_shown(figure['value'])} ({_shown(figure['low'])} to {_shown(figure['high'])})"


def _interval(honest: Mapping[str, Any]) -> str:
    return f"{honest['skill']:.4f} ({honest['low']:.4f} to {honest['high']:.4f})"
