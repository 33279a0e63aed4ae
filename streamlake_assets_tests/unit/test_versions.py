import datetime as dt
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamlake_assets.market.types import Bar, Status
from streamlake_assets.market.versions import (
    Outcome,
    Version,
    action_digest,
    action_version,
    bar_digest,
    bar_version,
    merge,
)
from streamlake_assets_tests.bars import NOW, action, bar, valid_bars

RANKS = {"low": 10, "middle": 20, "high": 50}
EARLY, LATE = NOW, NOW + dt.timedelta(microseconds=1)


class Item(NamedTuple):
    """One arrival of one version; ``number`` tells two arrivals of one version apart."""

    fact: Bar
    number: int = 0

    @property
    def version(self) -> Version:
        return bar_version(self.fact, RANKS[self.fact.source])


def item(
    price: str = "10", source: str = "middle", status: Status = Status.SETTLED, as_of: dt.datetime = EARLY
) -> Item:
    return Item(bar(price=price, source=source, status=status, as_of=as_of))


@st.composite
def deliveries(draw: st.DrawFn) -> list[Item]:
    """Versions of one key, each delivered one to three times, in any order."""
    versions = draw(
        st.lists(
            st.builds(
                item,
                st.sampled_from(["10", "11", "12"]),
                st.sampled_from(sorted(RANKS)),
                st.sampled_from(Status),
                st.sampled_from([EARLY, LATE]),
            ),
            min_size=1,
            max_size=6,
        )
    )
    repeated = [Item(one.fact, n) for one in versions for n in range(draw(st.integers(1, 3)))]
    return list(draw(st.permutations(repeated)))


def digests(items: list[Item]) -> set[bytes]:
    return {one.version.digest for one in items}


@given(deliveries())
def test_any_order_leaves_the_greatest_version_and_every_other_as_a_revision(arrivals: list[Item]) -> None:
    merged = merge(None, arrivals)
    assert merged.current.version == max(one.version for one in arrivals)
    assert digests(merged.revisions) == digests(arrivals) - {merged.current.version.digest}
    assert len(merged.revisions) == len(digests(merged.revisions))


@given(deliveries(), st.data())
def test_batches_cut_anywhere_end_like_one(arrivals: list[Item], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(arrivals)))
    whole = merge(None, arrivals)
    first = merge(None, arrivals[:cut])
    if cut == len(arrivals):
        return
    second = merge(first.current, arrivals[cut:])
    assert second.current == whole.current
    assert digests([*first.revisions, *second.revisions]) == digests(whole.revisions)
    assert first.outcomes + second.outcomes == whole.outcomes


@given(deliveries())
def test_every_arrival_has_one_outcome_and_the_first_alone_is_new(arrivals: list[Item]) -> None:
    outcomes = merge(None, arrivals).outcomes
    assert len(outcomes) == len(arrivals)
    assert outcomes[0] is Outcome.NEW
    assert set(outcomes[1:]) <= {Outcome.CHANGED, Outcome.SAME, Outcome.OLDER}
    rising = Counter(outcomes)[Outcome.CHANGED] + 1
    assert rising <= len(digests(arrivals))


@given(deliveries())
def test_the_first_arrival_of_a_version_is_the_one_kept(arrivals: list[Item]) -> None:
    merged = merge(None, arrivals)
    for kept in (merged.current, *merged.revisions):
        assert kept is next(one for one in arrivals if one.version.digest == kept.version.digest)


ORDER = [
    item(source="low", as_of=LATE),
    item(status=Status.PROVISIONAL, as_of=LATE),
    item(as_of=EARLY),
    item(as_of=LATE),
    item(source="high", status=Status.PROVISIONAL, as_of=EARLY),
    item(source="high", as_of=EARLY),
]


@pytest.mark.parametrize(("lesser", "greater"), list(pairwise(ORDER)))
def test_rank_then_settled_then_as_of_decides(lesser: Item, greater: Item) -> None:
    assert merge(lesser, [greater]).outcomes == [Outcome.CHANGED]
    assert merge(greater, [lesser]).outcomes == [Outcome.OLDER]


def test_two_values_stated_at_one_moment_are_ordered_by_their_digest() -> None:
    one, other = item("10"), item("11")
    assert merge(one, [other]).current == merge(other, [one]).current


def test_repeats_of_replaced_and_of_older_versions_are_older_and_the_current_stays() -> None:
    replaced, older, current = item(as_of=EARLY), item(source="low"), item(as_of=LATE)
    merged = merge(None, [replaced, current, replaced, older, older, current])
    assert merged.current is current
    assert merged.revisions == [replaced, older]
    new, changed, again, late, twice, same = merged.outcomes
    assert (new, changed, same) == (Outcome.NEW, Outcome.CHANGED, Outcome.SAME)
    assert again == late == twice == Outcome.OLDER


@given(valid_bars())
def test_the_digest_is_of_what_the_source_states(made: Bar) -> None:
    resent = replace(made, event_time=NOW, name="other", sector="other", currency="USD", exchange="XXXX")
    assert bar_digest(resent) == bar_digest(made)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "other"},
        {"status": Status.PROVISIONAL},
        {"as_of": LATE},
        {"open": Decimal("10.5")},
        {"high": Decimal("13")},
        {"low": Decimal("8")},
        {"close": Decimal("11.5")},
        {"volume": None},
        {"vwap": Decimal("10")},
        {"trades": 0},
        {"synthetic": True},
    ],
)
def test_another_statement_has_another_digest(change: dict[str, object]) -> None:
    assert bar_digest(replace(bar(as_of=EARLY), **change)) != bar_digest(bar(as_of=EARLY))


def test_values_do_not_change_places_in_the_digest() -> None:
    one, other = bar(volume=Decimal(7), vwap=None), bar(volume=None, vwap=Decimal(7))
    assert bar_digest(one) != bar_digest(other)


@pytest.mark.parametrize("text", ["10.0", "10.0000000000", "1E+1"])
def test_trailing_zeros_are_the_same_statement(text: str) -> None:
    assert bar_digest(bar(open=text)) == bar_digest(bar(open="10"))
    assert action_digest(action(factor=Decimal(text))) == action_digest(action(factor=Decimal(10)))


def test_a_later_statement_of_an_action_replaces_the_earlier() -> None:
    early, late = action(as_of=EARLY), action(as_of=LATE, factor=Decimal("0.25"))
    assert action_version(late, 10) > action_version(early, 10)
    assert action_version(early, 20) > action_version(late, 10)


def test_nothing_to_merge_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one"):
        merge(item(), [])
