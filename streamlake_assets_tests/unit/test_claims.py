"""The claims audit: each mistake brings its famous figure, the honest one is near zero, and the check can fail."""

import base64
import copy
import datetime as dt
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import numpy as np
import pytest

from streamlake_assets.defs import claims as definitions
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import claims as flow
from streamlake_assets.flows.svg_charts import Bar, bar_chart
from streamlake_assets.learning import claims, claims_flaws
from streamlake_assets.learning.claims import Claim, ClaimsAudit, Profile
from streamlake_assets.learning.claims_made import adjusted_bars, made_sessions, usable
from streamlake_assets.learning.claims_stated import STATEMENTS
from streamlake_assets.market.series import SessionSeries
from streamlake_assets_tests.series_data import bokeh_series, planted_return, random_walk

SMALL = Profile(sessions=252, walk_sessions=400, honest_sessions=500, trees=20)
NOW = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def real(*symbols: str) -> list[SessionSeries]:
    return [one for one in bokeh_series() if one.symbol in symbols]


@pytest.fixture(scope="module")
def audited() -> ClaimsAudit:
    return claims.audit(real("AAPL", "FB", "IBM"), seeds=range(5), profile=SMALL)


@pytest.fixture(scope="module")
def found(audited: ClaimsAudit) -> dict[str, Claim]:
    return {claim.statement.id: claim for claim in audited.claims}


@pytest.fixture
def report(audited: ClaimsAudit) -> dict[str, Any]:
    ways = {"name": "way", "refits": True, "seconds": 2.0, "rmse": 1.5, "most_apart": 0.0}
    arima = dict.fromkeys(("refit", "filter_pass", "recursion", "least_squares"), ways)
    numbers = {"train": 360, "steps": 40, "persistence_rmse": 1.5, "rmse_ratio": 1.0, "speed_up": 1.0}
    honest = {"skill": 0.0, "low": -0.1, "high": 0.1}
    made = {
        **audited.to_dict(),
        "arima": {"instrument": "X", "return_skill": honest, "speed_up_with_fit": 1.0, **numbers, **arima},
    }
    return copy.deepcopy(made)


def test_copies_across_a_random_split_make_a_forest_seem_to_know_the_close(found: dict[str, Claim]) -> None:
    claim = found["duplicates"]
    once, ordered = claim.steps
    for figure in (claim.made, claim.real):
        assert figure.low > 0.9
    for step in (once, ordered):
        assert max(step.made.value, step.real.value) < 0.2
    assert claim.honest.skill < 0.02
    assert claim.honest_made.skill < 0.02


def test_kappa_s_three_regressions_come_out_in_its_order(audited: ClaimsAudit) -> None:
    linear, forest, boosting = audited.regressions
    assert (linear.reported_r2, forest.reported_r2, boosting.reported_r2) == (0.0331, 0.9823, 0.4019)
    for part in ("made_r2", "real_r2"):
        assert getattr(linear, part).value < getattr(boosting, part).value < getattr(forest, part).value
    assert linear.made_r2.value < 0.1
    assert abs(linear.honest.skill) < 0.05


def test_a_forecast_held_against_the_close_it_has_seen_seems_perfect_and_aligned_is_the_last_price() -> None:
    walk = adjusted_bars(made_sessions(2_000, 3), 2_000)
    (apple,) = (adjusted_bars(one, 2_000) for one in real("AAPL"))
    for bars in (walk, apple):
        score = claims_flaws.off_by_one(bars.close)
        assert score.stored_r2 > 0.999
        assert score.aligned_rmse == pytest.approx(score.persistence_rmse, rel=0.01)
        assert score.times_too_good > 10


def test_what_is_stored_for_a_step_is_the_forecast_of_the_next_made_with_the_close_in_sight() -> None:
    closes = adjusted_bars(made_sessions(500, 4), 500).close
    errors = []
    for step in range(450, 500):
        seen = np.diff(closes[: step + 1])
        phi = np.linalg.lstsq(seen[:-1, None], seen[1:], rcond=None)[0][0]
        errors.append(closes[step] + phi * seen[-1] - closes[step])
    stored = claims_flaws.off_by_one(closes).stored_rmse
    assert stored == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-9)


def test_copying_the_last_price_scores_high_as_a_level(found: dict[str, Claim]) -> None:
    claim = found["price_level"]
    assert claim.made.value > 0.7
    assert claim.real.value > 0.7
    shuffled, ordered = claim.steps
    assert shuffled.made.value > ordered.made.value, "a forest cannot leave the levels it has seen"
    assert -0.1 < claim.honest.skill < 0.02


def test_the_same_bar_tells_its_own_close(found: dict[str, Claim]) -> None:
    claim = found["same_bar"]
    assert claim.made.value > 0.98
    assert claim.real.value > 0.98
    assert -0.1 < claim.honest.skill < 0.02
    assert abs(claim.honest_made.skill) < 0.02


def test_every_claim_has_its_spread_and_the_audit_says_who_was_left_out(audited: ClaimsAudit) -> None:
    assert [claim.statement for claim in audited.claims] == list(STATEMENTS)
    assert audited.left_out == (("FB|XNYS", "196 sessions, 252 are needed"),)
    for claim in audited.claims:
        assert [name for name, _ in claim.real.each] == ["AAPL|XNYS", "IBM|XNYS"]
        assert len(claim.made.each) == 5
        assert claim.made.low < claim.made.value < claim.made.high
        assert claim.honest.low <= claim.honest.skill <= claim.honest.high


def test_the_audit_is_the_same_whenever_and_in_whatever_order_it_is_made_and_finds_skill_that_is_there() -> None:
    series = [planted_return(900, 1, "AAA"), planted_return(900, 2, "BBB")]
    profile = replace(SMALL, walk_sessions=900, honest_sessions=900)
    first, again = (claims.audit(order, seeds=(0,), profile=profile) for order in (series, series[::-1]))
    assert first == again
    assert first.to_dict() == again.to_dict()
    skills = {claim.statement.id: claim.honest for claim in first.claims}
    assert skills["same_bar"].low > 0
    assert skills["off_by_one"].skill > 0.02


def test_made_bars_are_bars() -> None:
    made = made_sessions(300, 1)
    assert (made.low <= np.minimum(made.open, made.close)).all()
    assert (made.high >= np.maximum(made.open, made.close)).all()
    moves = np.diff(np.log(made.close))
    assert moves.std() == pytest.approx(0.015, rel=0.15)
    assert abs(np.corrcoef(moves[1:], moves[:-1])[0, 1]) < 0.15
    assert abs(np.corrcoef(np.log(made.volume[1:]), moves)[0, 1]) < 0.15
    np.testing.assert_array_equal(made.close, made_sessions(300, 1).close)
    assert (made.close != made_sessions(300, 2).close).all()


def test_adjusted_bars_pass_a_split_without_a_jump() -> None:
    walk = random_walk(300, 1)
    halved = np.where(np.arange(300) < 200, 2.0, 1.0)
    factor = np.ones(300)
    factor[200] = 0.5
    raw = {name: getattr(walk, name) * halved for name in ("open", "high", "low", "close")}
    bars = adjusted_bars(replace(walk, **raw, factor=factor), 250)
    np.testing.assert_allclose(bars.close, walk.close[50:])
    np.testing.assert_allclose(bars.high, walk.high[50:])
    assert len(bars) == 250


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda one: one.tail(100), "100 sessions, 252 are needed"),
        (lambda one: replace(one, volume=np.full(300, np.nan)), "a volume is missing"),
        (lambda one: replace(one, volume=np.full(300, 7.0)), "do not move"),
        (lambda one: replace(one, close=np.where(np.arange(300) == 9, np.nan, one.close)), "a price is missing"),
        (lambda one: replace(one, low=one.low - 1e6), "not above zero"),
    ],
)
def test_what_cannot_take_part_is_named_with_its_reason(
    broken: Callable[[SessionSeries], SessionSeries], said: str
) -> None:
    good, bad = random_walk(300, 1, "GOOD"), broken(random_walk(300, 2, "BAD"))
    kept, left_out = usable([good, bad])
    assert [one.symbol for one in kept] == ["GOOD"]
    assert said in left_out["BAD|XNYS"]
    with pytest.raises(UsageError, match=f"no instrument can take part.*{said}"):
        claims.audit([bad])


def test_an_honest_report_passes(report: dict[str, Any]) -> None:
    verdict = flow.judge_claims(report)
    assert verdict.passed, verdict.text
    assert verdict.facts["duplicates_made"] > 0.9


def drawing(svg: str | bytes) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314  our own text


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(report: dict[str, Any]) -> None:
        at: Any = report
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("claims", 0, "made", "value", value=0.4), "duplicates: 0.4000 on made bars, not 0.9 to 1"),
        (_set("claims", 1, "real", "value", value=0.98), "off_by_one: 0.9800 on real bars"),
        (_set("claims", 2, "made", "value", value=float("nan")), "price_level: nan on made bars"),
        (_set("claims", 3, "honest", "skill", value=0.2), "same_bar: honest skill 0.2000, above 0.05"),
        (_set("claims", 3, "honest_made", "skill", value=0.2), "same_bar: honest_made skill"),
        (_set("claims", 2, "id", value="other"), "price_level: not audited"),
        (_set("regressions", 2, "honest", "skill", value=0.9), "boosting: honest skill 0.9000"),
        (_set("arima", "rmse_ratio", value=1.02), "1.0200 times the error of refit"),
    ],
)
def test_a_report_that_says_something_else_fails(
    report: dict[str, Any], change: Callable[[dict[str, Any]], None], said: str
) -> None:
    change(report)
    report["claims"][0]["band"] = [-99, 99]  # a report cannot bring its own limits
    verdict = flow.judge_claims(report)
    assert not verdict.passed
    assert said in verdict.text


def test_no_report_is_no_pass() -> None:
    assert flow.judge_claims(None).passed, "made on demand: none is no fault"


def test_the_page_has_a_chart_for_each_claim_and_for_the_regressions(report: dict[str, Any]) -> None:
    page = flow.claims_page(report)
    images = re.findall(r"!\[[^\]]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", page)
    assert len(images) == len(STATEMENTS) + 1
    for image in images:
        texts = [part.text for part in drawing(base64.b64decode(image)).iter() if part.text]
        assert any("honest" in text for text in texts)
        assert any("real bars" in text for text in texts)
    for statement in STATEMENTS:
        assert statement.why in page
        assert statement.how in page
    assert "Left out: FB|XNYS" in page
    assert [row["reported"] for row in flow.claims_table(report)] == [0.9823, None, 0.905, None]


def test_a_chart_draws_below_zero_to_the_left_and_escapes_its_texts() -> None:
    bars = [Bar("up", "1", 1.0, 0.5, 1.0), Bar("down <&>", "-1", -1.0), Bar("none", "no figure", None)]
    drawn = drawing(bar_chart("a & b", bars))
    boxes = [part.attrib for part in drawn if part.tag.endswith("rect")][1:]
    up, down = ((float(box["x"]), float(box["width"])) for box in boxes)
    assert down[0] + down[1] == pytest.approx(up[0], abs=0.2)
    assert up[1] == pytest.approx(down[1], abs=0.2)
    assert {"a & b", "down <&>", "no figure"} <= {part.text for part in drawn}


def test_the_asset_stores_and_shows_the_audit_and_its_check_fails_on_another_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[str, Any] = {}
    documents = SimpleNamespace(series=lambda: real("AAPL"), put_report=kept.__setitem__, report=kept.get)
    stores = SimpleNamespace(documents=documents, now=lambda: NOW)
    monkeypatch.setattr(claims, "QUICK", replace(SMALL, walk_sessions=300))
    monkeypatch.setattr(flow, "QUICK_SEEDS", (0,))
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [definitions.claims_audit, definitions.claims_are_reproduced],
            resources={"stores": stores},
            instance=instance,
            run_config={"ops": {"reports__claims_audit": {"config": {"quick": True}}}},
        )
    (judged,) = done.get_asset_check_evaluations()
    assert judged.passed, judged.description
    metadata = done.asset_materializations_for_node("reports__claims_audit")[0].metadata
    assert len(metadata["claims"].records) == len(STATEMENTS)  # type: ignore[attr-defined]
    assert "### Kappa" in str(metadata["page"].value)
    assert kept["claims_audit"]["made_at"] == NOW
    kept["claims_audit"]["claims"][0]["real"]["value"] = 0.1
    verdict = definitions.claims_are_reproduced(stores=stores)
    assert isinstance(verdict, dg.AssetCheckResult)
    assert not verdict.passed


def test_without_documents_the_audit_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="refresh the documents"):
        flow.make_claims_audit(SimpleNamespace(series=list), NOW)  # type: ignore[arg-type]
