"""Asked range against received range: what a plan cuts off is named."""

import datetime as dt

import pytest

from streamlake_assets.market.coverage import sessions_covered

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5, 8)]


@pytest.mark.parametrize(
    ("received", "before", "between", "after", "words"),
    [
        (DAYS[2:], 2, 0, 0, "2 of 5 sessions of the range are missing: 2 before 2024-01-04"),
        (DAYS[:3], 0, 0, 2, "2 after 2024-01-04"),
        ([DAYS[0], DAYS[3]], 0, 2, 1, "2 in between, 1 after 2024-01-05"),
        ([], 5, 0, 0, "none of the 5 sessions"),
    ],
)
def test_what_is_missing_is_named_by_its_place(
    received: list[dt.date], before: int, between: int, after: int, words: str
) -> None:
    verdict = sessions_covered(DAYS, received)
    assert not verdict.passed and words in verdict.text
    facts = verdict.facts
    assert (facts["missing_before"], facts["missing_between"], facts["missing_after"]) == (before, between, after)


@pytest.mark.parametrize("extra", [[], [dt.date(2024, 1, 6)]])
def test_a_whole_range_passes_whatever_else_came(extra: list[dt.date]) -> None:
    assert sessions_covered(DAYS, [*DAYS, *extra]).passed


def test_a_range_without_sessions_is_covered() -> None:
    assert sessions_covered([], []).passed
