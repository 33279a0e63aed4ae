"""The value statement: planted value is found, none is invented, and whatever is dishonest in a report is named."""

import copy
import dataclasses
import json
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from streamlake_assets.errors import UsageError
from streamlake_assets.flows.svg_charts import markdown_image
from streamlake_assets.flows.svg_lines import MOST_POINTS, Line, line_chart
from streamlake_assets.flows.value import (
    AS_SHOWN,
    BY_BASELINE,
    BY_MODEL,
    CONSTANT,
    HOLD,
    judge,
    range_sizes,
    return_rules,
    summary,
    value_report,
)
from streamlake_assets.flows.value_page import judge_value, page
from streamlake_assets.learning.spec import linear_spec
from streamlake_assets.market.backtest import DEFAULT_COSTS
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.signals import DISCLAIMER, NOT_ACTIONABLE
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import planted_range, planted_return, random_walks

SESSIONS = 480
CHAMPIONS = {Target.ADJUSTED_RETURN: "0-zero", Target.LOG_RANGE: "m-model"}
DIRECTION, RISK = (target.value for target in Target)


def with_a_split(series: SessionSeries) -> SessionSeries:
    """Return the same instrument with two shares for one before its last 50 sessions."""
    prices = {name: getattr(series, name).copy() for name in ("open", "high", "low", "close")}
    for values in prices.values():
        values[-50:] /= 2
    factor = series.factor.copy()
    factor[-50] = 0.5
    return dataclasses.replace(series, factor=factor, **prices)


@pytest.fixture(scope="module")
def planted() -> list[SessionSeries]:
    return [with_a_split(planted_range(SESSIONS, 1)), planted_range(SESSIONS, 2, "BBB")]


@pytest.fixture(scope="module")
def report(planted: list[SessionSeries]) -> dict[str, Any]:
    return value_report(planted, CHAMPIONS)


def named(section: dict[str, Any], part: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in section[part] if each["name"] == name)
    return found


def test_a_planted_range_makes_risk_steadier_than_the_moving_average(report: dict[str, Any]) -> None:
    section = report["sections"][RISK]
    assert section["actionable"]
    model, baseline, constant = (named(section, "guides", name) for name in (BY_MODEL, BY_BASELINE, CONSTANT))
    assert model["qlike"] < min(baseline["qlike"], constant["qlike"])
    assert model["miss"] < min(baseline["miss"], constant["miss"])
    assert model["utility"] > baseline["utility"]
    assert section["better_than_baseline"]["qlike"]["low"] > 0
    assert section["better_than_baseline"]["miss"]["low"] > 0


def test_what_has_no_skill_is_computed_labelled_and_never_actionable(report: dict[str, Any]) -> None:
    section = report["sections"][DIRECTION]
    assert (section["actionable"], section["label"]) == (False, NOT_ACTIONABLE)
    assert {each["name"] for each in section["strategies"]} == {AS_SHOWN, "long or flat", "long or short", HOLD}
    assert NOT_ACTIONABLE in report["summary"]
    assert "which without skill is no ground to act" in report["summary"], "on these made bars a rule was lucky"
    assert report["summary"].endswith(DISCLAIMER)


@pytest.mark.parametrize("champions", [{}, dict.fromkeys(Target, "0-zero")], ids=["none", "version zero"])
def test_skill_without_a_champion_that_is_not_version_zero_is_not_actionable(
    champions: dict[Target, str], planted: list[SessionSeries]
) -> None:
    found = value_report(planted, champions)
    assert found["sections"][RISK]["skill_low"] > 0
    assert not found["sections"][RISK]["actionable"]
    assert judge_value(found, planted).passed


def test_a_planted_return_is_money_at_the_next_open_only_if_that_open_comes_before_the_move() -> None:
    late = [planted_return(900, seed, f"S{seed}") for seed in range(3)]
    early = [dataclasses.replace(one, open=np.concatenate([one.close[:1], one.close[:-1]])) for one in late]
    found = {}
    for name, series in (("late", late), ("early", early)):
        report = value_report(series, {Target.ADJUSTED_RETURN: "m-model"})
        section = report["sections"][DIRECTION]
        assert section["actionable"], "the forecast is as good in both"
        found[name] = named(section, "strategies", "long or short")
    # opens that lie about the close of their own session have most of the move behind them
    assert found["early"]["luck"] < 0.01
    assert found["early"]["gross_total"] > 3 * found["late"]["gross_total"]
    assert found["early"]["break_even_bp"] > DEFAULT_COSTS.per_unit * 1e4 > 0
    assert "beat hold and chance after costs: long or flat, long or short." in report["summary"]


def test_steadier_risk_is_called_money_only_where_it_is(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    model, baseline = (named(changed["sections"][RISK], "strategies", name) for name in (BY_MODEL, BY_BASELINE))
    model["sharpe"], baseline["sharpe"] = 0.9, 0.95
    assert "In money it adds nothing to the average." in summary(changed)
    model["sharpe"] = 1.0
    assert "In money the model adds +0.05 in the Sharpe ratio" in summary(changed)


def test_rules_that_lose_to_hold_or_to_chance_are_said_to(report: dict[str, Any]) -> None:
    for change in ({"total": -0.5}, {"luck": 0.02}):
        changed = copy.deepcopy(report)
        for one in changed["sections"][DIRECTION]["strategies"]:
            if one.get("trials"):
                one.update(change)
        # 0.02 is luck enough for one rule, not for the best of three
        assert "none beats both hold and chance." in summary(changed)


def test_a_report_is_plain_values_and_the_same_every_time(report: dict[str, Any], planted: list[SessionSeries]) -> None:
    assert json.loads(json.dumps(report)) == report
    assert value_report(planted[::-1], CHAMPIONS) == report
    assert report["instruments"] == ["AAA|XNYS", "BBB|XNYS"]


def test_too_few_dates_leave_a_reason_and_no_figures() -> None:
    found = value_report(random_walks(200, 0), CHAMPIONS)
    assert found["sections"] == {}
    assert len(found["reasons"]) == 2
    assert "more than 252" in found["summary"]
    assert judge_value(found, []).passed
    assert DISCLAIMER in page(found)


def test_bars_after_a_session_change_no_position_decided_until_then() -> None:
    before = random_walks(SESSIONS, 4, 2)
    cut = before[0].sessions[420]
    after = []
    for one in before:
        later = one.sessions > cut
        changed = {
            name: np.where(later, getattr(one, name) * 1.7, getattr(one, name))
            for name in ("open", "high", "low", "close")
        }
        changed["high"] = np.where(later, changed["high"] * 1.2, changed["high"])
        after.append(dataclasses.replace(one, **changed))
    moved = 0
    for target in Target:
        found = [judge(linear_spec(target, "sklearn"), training_frame(series, None, 63)) for series in (before, after)]
        decided = found[0].after <= cut
        assert decided.sum() > 200
        assert_array_equal(found[0].executed, found[1].executed)
        assert (found[0].executed > found[0].after).all()
        rules = [return_rules(each) if target.has_direction else range_sizes(each) for each in found]
        for name in set(rules[0]) - {CONSTANT}:
            assert_array_equal(rules[0][name][decided], rules[1][name][decided], err_msg=name)
            moved += not np.array_equal(rules[0][name], rules[1][name], equal_nan=True)
        assert_array_equal(found[0].half_width[decided], found[1].half_width[decided])
    assert moved >= 4, "what came later is seen later"


def test_an_honest_report_passes(report: dict[str, Any], planted: list[SessionSeries]) -> None:
    verdict = judge_value(report, planted)
    assert verdict.passed, verdict.text
    assert verdict.facts["executions"] == 2 * 23
    splits = [one for one in report["sections"][RISK]["sample"] if one["instrument"] == "AAA|XNYS"]
    over = from_ordinal(planted[0].sessions[-51]).isoformat()
    assert over in {one["executed"] for one in splits}, "the split is among them"
    assert judge_value(None, planted).passed


Change = Callable[[dict[str, Any]], None]


def same_session(report: dict[str, Any]) -> None:
    one = report["sections"][DIRECTION]["sample"][0]
    one["executed"] = one["decided_after"]


def other_price(report: dict[str, Any]) -> None:
    report["sections"][RISK]["sample"][3]["price"] *= 1.001


def unadjusted(report: dict[str, Any]) -> None:
    report["sections"][RISK]["sample"][-3]["growth"] *= 0.5


def unknown_session(report: dict[str, Any]) -> None:
    report["sections"][RISK]["sample"][0]["decided_after"] = "1999-01-01"


def unknown_instrument(report: dict[str, Any]) -> None:
    report["sections"][RISK]["sample"][0]["instrument"] = "ZZZ|XNYS"


def free_lunch(report: dict[str, Any]) -> None:
    one = named(report["sections"][DIRECTION], "strategies", "long or short")
    one["total_at_double_costs"] = one["total"]


def cost_of_nothing(report: dict[str, Any]) -> None:
    named(report["sections"][DIRECTION], "strategies", AS_SHOWN)["total_at_double_costs"] = -0.1


def bold(report: dict[str, Any]) -> None:
    report["sections"][DIRECTION] |= {"actionable": True, "label": "", "champion": "m-model"}


def baseline_speaks(report: dict[str, Any]) -> None:
    report["sections"][RISK]["champion"] = "0-zero"


def label_lost(report: dict[str, Any]) -> None:
    report["sections"][DIRECTION]["label"] = ""


def disclaimer_lost(report: dict[str, Any]) -> None:
    report["summary"] = report["summary"].replace(DISCLAIMER, "")


def signal_from_version_zero(report: dict[str, Any]) -> None:
    report["risk_signals"] = [
        {"symbol": "AAA", "session": "2013-01-15", "model_version": "0-zero", "disclaimer": DISCLAIMER}
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (same_session, "the next session is"),
        (other_price, "the next open is"),
        (unadjusted, "from open to open it is"),
        (unknown_session, "not stored"),
        (unknown_instrument, "no session of the instrument"),
        (free_lunch, "at double costs"),
        (cost_of_nothing, "at double costs"),
        (bold, "without skill"),
        (baseline_speaks, "without skill"),
        (label_lost, "not labelled"),
        (disclaimer_lost, DISCLAIMER),
        (signal_from_version_zero, "from version 0"),
    ],
)
def test_a_dishonest_report_fails_and_says_where(
    change: Change, said: str, report: dict[str, Any], planted: list[SessionSeries]
) -> None:
    changed = copy.deepcopy(report)
    change(changed)
    verdict = judge_value(changed, planted)
    assert not verdict.passed
    assert said in verdict.text
    assert verdict.facts["limit"] == 0


def test_the_page_shows_both_targets_with_a_chart_each_and_the_disclaimer(report: dict[str, Any]) -> None:
    text = page(report)
    assert f"### Direction ({NOT_ACTIONABLE})" in text
    assert "### Risk\n" in text
    assert text.rstrip().endswith(DISCLAIMER)
    charts = [part.partition(")")[0] for part in text.split("data:image/svg+xml;base64,")[1:]]
    assert len(charts) == 2
    names = {element.text for element in ET.fromstring(b64decode(charts[0])).iter() if element.text}  # noqa: S314
    assert any(name.startswith(HOLD) for name in names)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") in {13, 7} for line in rows)


def test_a_line_chart_is_well_formed_and_its_heights_are_logarithms() -> None:
    svg = line_chart("a < b", [Line("one & two", [1, 10, 100]), Line("flat", [10, 10, 10])], ("left", "right"))
    tree = ET.fromstring(svg)  # noqa: S314
    first, second = (
        [tuple(map(float, point.split(","))) for point in (element.get("points") or "").split()]
        for element in tree.iter("{http://www.w3.org/2000/svg}polyline")
    )
    assert first[0][1] - first[1][1] == pytest.approx(first[1][1] - first[2][1], abs=0.2)
    assert second[0][1] == second[2][1] == first[1][1]
    texts = {element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert {"a < b", "one & two 100.00", "flat 10.00", "left", "right"} <= texts
    assert markdown_image("a [b]", svg).startswith("![a (b)](data:image/svg+xml;base64,")


def test_a_long_line_is_thinned_with_both_ends_kept() -> None:
    tree = ET.fromstring(line_chart("long", [Line("one", list(range(1, 3001)))], ("", "")))  # noqa: S314
    (line,) = tree.iter("{http://www.w3.org/2000/svg}polyline")
    points = (line.get("points") or "").split()
    assert len(points) == MOST_POINTS
    assert float(points[0].split(",")[0]) == 56
    assert float(points[-1].split(",")[0]) == 760 - 210


@pytest.mark.parametrize(
    "lines", [[], [Line("a", [1])], [Line("a", [1, 2]), Line("b", [1])], [Line("a", [1, 0])], [Line("a", [1, np.nan])]]
)
def test_what_cannot_be_drawn_is_refused(lines: list[Line]) -> None:
    with pytest.raises(UsageError):
        line_chart("none", lines, ("", ""))
