import pytest

from streamlake_assets.market.dead_letter_limit import WINDOW, DeadLetterLimit

PLACE = ("finance-data", 0)


def judged(limit: DeadLetterLimit, offsets: list[int], begin: int = 0) -> list[int]:
    """Offsets at which the limit said stop."""
    return [offset for offset in offsets if limit.exceeded(PLACE, begin, offset)]


def test_as_many_in_a_row_as_allowed_are_allowed() -> None:
    assert judged(DeadLetterLimit(run=50), list(range(50))) == []
    assert judged(DeadLetterLimit(run=50), list(range(52))) == [50, 51]


def test_a_good_message_ends_a_row() -> None:
    assert judged(DeadLetterLimit(run=3), [0, 1, 2, 4, 5, 6, 8]) == []


def test_a_share_is_judged_of_a_full_window_and_not_before() -> None:
    every_tenth = list(range(0, 2 * WINDOW, 10))
    stopped = judged(DeadLetterLimit(share=0.05), every_tenth)
    assert stopped[0] == WINDOW
    assert judged(DeadLetterLimit(share=0.05), every_tenth, begin=-WINDOW)[0] == 500
    assert judged(DeadLetterLimit(share=0.1), every_tenth) == []


def test_old_dead_letters_leave_the_window() -> None:
    assert judged(DeadLetterLimit(share=0.05), [*range(0, 50), *range(5000, 5050)]) == []


def test_offsets_read_again_count_once() -> None:
    limit = DeadLetterLimit(run=3)
    assert judged(limit, [0, 1, 2, 0, 1, 2, 1, 2]) == []
    assert judged(limit, [3]) == [3]


def test_nought_lifts_a_limit() -> None:
    assert judged(DeadLetterLimit(), list(range(3 * WINDOW))) == []


def test_partitions_are_judged_apart_and_a_forgotten_one_anew() -> None:
    limit = DeadLetterLimit(run=2)
    assert judged(limit, [0, 1]) == []
    assert limit.exceeded(("finance-data", 1), 0, 2) == ""
    limit.forget(PLACE)
    assert judged(limit, [2, 3]) == []


def test_the_reason_has_figures() -> None:
    limit = DeadLetterLimit(run=1)
    limit.exceeded(PLACE, 0, 0)
    assert limit.exceeded(PLACE, 0, 1) == "2 dead letters in a row (limit 1)"


@pytest.mark.parametrize("again", [0, 1, 7])
def test_a_partition_is_judged_from_where_it_was_first_read(again: int) -> None:
    limit = DeadLetterLimit(share=0.001)
    assert limit.exceeded(PLACE, 5_000, 5_000 + again) == ""
    assert limit.exceeded(PLACE, 5_900, 5_998) == ""
    assert limit.exceeded(PLACE, 5_900, 5_999) != ""
