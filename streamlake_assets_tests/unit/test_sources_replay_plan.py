import datetime as dt
from collections import Counter
from decimal import Decimal
from itertools import pairwise

import pytest
from msgspec.structs import replace

from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import validate_bar
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import Bar, CorporateAction, Interval, Status
from streamlake_assets.sources.bokeh_sample import SampleData, load
from streamlake_assets.sources.replay_plan import ReplayPlan, plan_replay, split_history


@pytest.fixture(scope="module")
def sample() -> SampleData:
    return load()


@pytest.fixture(scope="module")
def plan(sample: SampleData) -> ReplayPlan:
    return plan_replay(sample.bars, sample.actions)


def day(bar: Bar) -> dt.date:
    return session_date(bar.bar_time, bar.exchange)


def test_split_keeps_every_bar_and_whole_sessions(sample: SampleData) -> None:
    history, held = split_history(sample.bars, 60)
    assert len(history) + sum(len(bars) for _, bars in held) == len(sample.bars)
    assert len(held) == 60
    assert max(map(day, history)) < held[0][0]
    assert [session for session, _ in held] == sorted(session for session, _ in held)
    for session, bars in held:
        assert {day(bar) for bar in bars} == {session}
        assert [bar.symbol for bar in bars] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]


@pytest.mark.parametrize("held_back", [-1, 3270, 5000])
def test_a_history_without_sessions_is_refused(sample: SampleData, held_back: int) -> None:
    with pytest.raises(UsageError, match="cannot hold back"):
        split_history(sample.bars, held_back)


def test_intraday_bars_cannot_be_split_by_sessions(sample: SampleData) -> None:
    with pytest.raises(UsageError, match="takes daily bars"):
        split_history([replace(sample.bars[0], interval=Interval.M5)], 0)


def test_history_holds_nothing_of_the_live_part(plan: ReplayPlan) -> None:
    records = list(plan.history())
    first_live = plan.live[0].session
    assert all(day(r) < first_live if isinstance(r, Bar) else r.ex_date < first_live for r in records)
    intervals = Counter(r.interval for r in records if isinstance(r, Bar))
    assert intervals[Interval.D1] == 12_154 - 300
    # one early close among the 60 sessions: the day after Thanksgiving
    assert intervals[Interval.M5] == 5 * (59 * 78 + 42)


def test_every_action_is_published_exactly_once(sample: SampleData, plan: ReplayPlan) -> None:
    published = [*plan.actions, *(action for step in plan.live for action in step.actions)]
    assert sorted(map(str, published)) == sorted(map(str, sample.actions))
    assert [(a.symbol, a.ex_date.isoformat()) for step in plan.live for a in step.actions] == [
        ("IBM", "2013-02-06"),
        ("AAPL", "2013-02-07"),
        ("MSFT", "2013-02-19"),
    ]
    assert all(action.ex_date == step.session for step in plan.live for action in step.actions)


def test_action_between_sessions_goes_to_the_next_one(sample: SampleData) -> None:
    saturday = replace(sample.actions[0], ex_date=dt.date(2013, 2, 2))
    steps = {step.session: step.actions for step in plan_replay(sample.bars, [saturday]).live}
    assert steps[dt.date(2013, 2, 4)] == (saturday,)


def test_session_is_published_in_the_order_it_would_have_come(plan: ReplayPlan) -> None:
    step = next(step for step in plan.live if step.session == dt.date(2013, 2, 7))
    records = list(step.records())
    assert isinstance(records[0], CorporateAction)
    bars = [record for record in records if isinstance(record, Bar)]
    assert len(bars) == len(records) - 1
    on_the_way, settled = bars[:-5], bars[-5:]
    assert settled == list(step.daily)
    assert all(earlier.as_of <= later.as_of for earlier, later in pairwise(on_the_way))
    provisional = [bar for bar in on_the_way if bar.status is Status.PROVISIONAL]
    assert [bar.symbol for bar in provisional] == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    for made in provisional:
        before = [bar for bar in on_the_way[: on_the_way.index(made)] if bar.symbol == made.symbol and bar is not made]
        assert len(before) == 39
        assert made.close == before[-1].close
        assert made.volume == sum((bar.volume or Decimal(0) for bar in before), Decimal(0))


def test_whole_live_part_keeps_the_contract_and_equals_the_real_bars(plan: ReplayPlan) -> None:
    for step in plan.live:
        made = step.intraday()
        for bar in made:
            validate_bar(bar)
        for real in step.daily:
            own = [bar for bar in made if bar.instrument == real.instrument]
            assert own[0].open == real.open
            assert max(bar.high for bar in own) == real.high
            assert min(bar.low for bar in own) == real.low
            assert own[-1].close == real.close
            assert sum((bar.volume or Decimal(0) for bar in own), Decimal(0)) == real.volume
    assert len(plan.live) == 60


def test_plan_is_the_same_every_time(sample: SampleData, plan: ReplayPlan) -> None:
    again = plan_replay(sample.bars, sample.actions)
    assert list(again.live[0].records()) == list(plan.live[0].records())


def test_seed_changes_paths_and_nothing_else(sample: SampleData, plan: ReplayPlan) -> None:
    other = plan_replay(sample.bars, sample.actions, seed=7)
    assert other.daily == plan.daily
    assert other.live[0].daily == plan.live[0].daily
    assert other.live[0].intraday() != plan.live[0].intraday()
