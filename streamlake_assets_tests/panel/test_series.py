"""A series is the same whatever came from documents, rows or the tail, in whatever order."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from panel_app.series import Series, join_history, newer
from streamlake_assets.market.types import Status
from streamlake_assets.market.versions import Version
from streamlake_assets.stores.page_rows import PageBar

START = dt.datetime(2012, 1, 1, tzinfo=dt.UTC)


def bar(number: int, *, rank: int = 50, settled: bool = True, as_of: int = 0, document: bool = False) -> PageBar:
    moment = START + dt.timedelta(days=number)
    stated = moment + dt.timedelta(hours=as_of)
    close = 100.0 + rank + as_of
    version = Version(rank, settled, stated, f"{rank}{settled}{as_of}".encode())
    status = Status.SETTLED if settled else Status.PROVISIONAL
    return PageBar(moment, 100.0, close + 1, 99.0, close, 5.0, status, False, None if document else version)


versions = st.builds(
    bar,
    st.integers(0, 11),
    rank=st.sampled_from([10, 20, 50]),
    settled=st.booleans(),
    as_of=st.integers(0, 3),
)
streams = st.lists(versions, max_size=60)


def in_force(bars: list[PageBar]) -> list[PageBar]:
    best: dict[dt.datetime, PageBar] = {}
    for one in bars:
        held = best.get(one.bar_time)
        if held is None or newer(held, one):
            best[one.bar_time] = one
    return [best[moment] for moment in sorted(best)]


@given(streams, st.data())
def test_rows_and_an_overlapping_tail_in_any_order_show_the_versions_in_force(
    stream: list[PageBar], data: st.DataObject
) -> None:
    stored = data.draw(st.integers(0, len(stream)))
    tail_from = data.draw(st.integers(0, stored))
    series = Series()
    series.replace(in_force(stream[:stored]))
    for one in data.draw(st.permutations(stream[tail_from:])):
        series.merge(one)
    assert list(series.bars()) == in_force(stream)
    assert not series.unsure


@given(streams, st.data())
def test_a_viewer_who_takes_deltas_at_any_time_sees_what_is_held(stream: list[PageBar], data: st.DataObject) -> None:
    series = Series(most=6)
    series.replace([])
    seen: dict[dt.datetime, PageBar] = {}
    cursor = None
    looks = data.draw(st.sets(st.integers(0, 60)))
    for number, one in enumerate([*stream, bar(20)]):
        series.merge(one)
        if number in looks or number == len(stream):
            delta = series.since(cursor)
            if delta is None:
                continue
            cursor = delta.cursor
            if delta.whole:
                seen = {}
            seen.update({each.bar_time: each for each in delta.bars})
            seen = {moment: seen[moment] for moment in sorted(seen)[-6:]}
    assert tuple(seen.values()) == series.bars()
    assert series.since(cursor) is None


def test_a_settled_bar_replaces_a_provisional_one_and_never_the_other_way() -> None:
    series = Series()
    series.replace([bar(0, settled=False)])
    assert series.merge(bar(0, settled=True))
    assert not series.merge(bar(0, settled=False, as_of=3))
    assert [one.status for one in series.bars()] == [Status.SETTLED]


def test_a_document_is_not_replaced_by_a_provisional_bar_nor_by_equal_values() -> None:
    document = bar(0, document=True)
    assert newer(document, bar(0, settled=False, as_of=2)) is False
    assert newer(document, bar(0)) is False


def test_other_settled_values_for_a_document_ask_for_the_tables() -> None:
    series = Series()
    series.replace([bar(0, document=True)])
    assert not series.merge(bar(0, as_of=2))
    assert series.unsure
    assert series.bars() == (bar(0, document=True),)


def test_settled_rows_replace_documents_and_provisional_rows_only_fill_holes() -> None:
    documents = [bar(0, document=True), bar(1, document=True)]
    rows = [bar(0, as_of=1), bar(1, settled=False), bar(2, settled=False)]
    assert join_history(documents, rows) == [rows[0], documents[1], rows[2]]


def test_no_more_bars_are_held_than_drawn_and_old_ones_do_not_come_back() -> None:
    series = Series(most=3)
    series.replace([bar(number) for number in range(5)])
    assert not series.merge(bar(0))
    assert series.merge(bar(5))
    assert not series.merge(bar(2))
    assert [one.bar_time.day for one in series.bars()] == [4, 5, 6]


def test_who_fell_far_behind_draws_everything_again() -> None:
    series = Series()
    series.replace([])
    series.merge(bar(0))
    first = series.since(None)
    assert first is not None
    for number in range(1, 1200):
        series.merge(bar(number))
    late = series.since(first.cursor)
    assert late is not None and late.whole and len(late.bars) == 1200
