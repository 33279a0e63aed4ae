"""Sums over the ledger: skill, signs, coverage by quarter; and how they read."""

import datetime as dt

import pytest

from panel_app import charts
from panel_app.forecast_view import coverage, record_card, rows_table, said, summary
from panel_app.questions import LedgerAnswer
from panel_app.track_record import by_quarter, track_record
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores.page_ledger import LedgerLine, SpokeFrom

NOW = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
FIRST = dt.date(2012, 1, 2)


def line(number: int, *, point: float = 0.01, realised: float | None = None, late: bool = False) -> LedgerLine:
    """A row of the ledger; its interval is 0 to 0.02, its baseline zero."""
    session = FIRST + dt.timedelta(days=number)
    scored = realised is not None
    return LedgerLine(
        id=number,
        instrument=Instrument("IBM", "XNYS"),
        session=session,
        known_session=session - dt.timedelta(days=1),
        issued_at=NOW,
        version="v1",
        engine="sklearn",
        has_skill=True,
        point=point,
        low=0.0,
        high=0.02,
        baseline=0.0,
        coverage=0.9,
        late=late,
        realised=realised,
        baseline_error=realised,
        covered=0.0 <= realised <= 0.02 if realised is not None else None,
        direction_hit=(realised > 0) == (point > 0) if scored and realised else None,
    )


def test_skill_is_the_share_of_the_baselines_error_that_is_gone() -> None:
    lines = [line(number, realised=0.02 if number % 2 else 0.01) for number in range(40)]
    record = track_record(lines)
    # errors 0.01 and 0 against 0.02 and 0.01
    assert record.skill == pytest.approx(1 - 0.0001 / 0.0005)
    assert record.low is not None and record.high is not None
    assert record.low <= record.skill <= record.high and record.beats
    assert record.covered_share == 1.0 and record.nominal == 0.9
    assert record.hits is not None and record.hits.rate == 1.0 and record.hits.base_rate == 1.0


def test_a_forecast_worse_than_the_baseline_does_not_beat_it() -> None:
    record = track_record([line(number, point=0.01, realised=-0.001) for number in range(40)])
    assert record.skill is not None and record.skill < 0 and not record.beats
    assert record.hits is not None and record.hits.rate == 0.0


def test_few_sessions_have_no_interval_and_late_rows_count_only_as_late() -> None:
    lines = [line(number, realised=0.01) for number in range(5)] + [line(9), line(10, late=True)]
    record = track_record(lines)
    assert record.skill == 1.0 and record.low is None and not record.beats
    assert (record.scored, record.waiting, record.late) == (5, 1, 1)
    assert "too few sessions" in record_card("t", record)


def test_without_scores_there_is_no_figure() -> None:
    record = track_record([line(1)])
    assert record.skill is None and record.covered_share is None and record.hits is None
    assert "not scored yet" in record_card("t", record)


def test_a_baseline_without_error_gives_no_skill() -> None:
    record = track_record([line(number, realised=0.0) for number in range(20)])
    assert record.skill is None and record.low is None


def test_coverage_is_counted_by_the_quarter_of_the_session() -> None:
    lines = [line(0, realised=0.01), line(1, realised=0.05), line(100, realised=0.01), line(101)]
    assert [(one.name, one.scored, one.covered) for one in by_quarter(lines)] == [("2012-Q1", 2, 1), ("2012-Q2", 1, 1)]
    assert "50% of 2, few" in coverage(lines) and "nothing is scored yet" in coverage([line(0)])


def test_rows_read_in_per_cent_and_say_what_became_of_them() -> None:
    lines = [line(0, realised=0.01), line(1, realised=0.05), line(2), line(3, late=True)]
    made = rows_table(Target.ADJUSTED_RETURN, lines, picked=1)
    for text in ("+1.01%", "inside", "outside", "waits for its session", "late, not scored", 'data-pick="2"'):
        assert text in made
    assert made.count("why?") == 3 and "shown" in made
    shown = said(Target.ADJUSTED_RETURN, lines)
    assert [one.inside for one in shown] == [True, False, False, False] and shown[2].realised is None
    picture = charts.said_and_happened(shown)
    assert picture.count("<rect") == 4 and picture.count(charts.INSIDE) == 1 == picture.count(charts.OUTSIDE)
    assert charts.said_and_happened([]) == ""


def test_the_gate_says_whether_there_is_skill() -> None:
    def shown(target: Target, has_skill: bool) -> str:
        spoke = SpokeFrom(
            version="<b>v1</b>",
            engine="sklearn",
            reason="gate",
            since=NOW,
            has_skill=has_skill,
            skill=0.1,
            skill_low=0.05,
            skill_high=0.15,
        )
        return summary(target, "IBM", LedgerAnswer((), (), (spoke,)))

    assert "no skill on direction" in shown(Target.ADJUSTED_RETURN, False)
    assert ">skill on risk<" in shown(Target.LOG_RANGE, True)
    assert "<b>v1" not in shown(Target.LOG_RANGE, True)
    assert "no model yet" in summary(Target.LOG_RANGE, "IBM", LedgerAnswer((), (), ()))
