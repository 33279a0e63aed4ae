"""The views around the live one: what they say, what they leave alone, and what they free."""

import dataclasses
import datetime as dt
import gc
import weakref
from typing import Any

import numpy as np
import pytest

from panel_app import model_tables, quality_tables
from panel_app import questions as q
from panel_app.data_store import DataStore, PartitionLag
from panel_app.model_view import BENCHMARK, CLAIMS, REGISTER, VALUE
from panel_app.quality_view import OPERATIONS
from panel_app.readers import Refreshes
from panel_app.selection import ViewName, ignored, view_named
from panel_app.shelf import Answer
from panel_app.shell import TITLES, Shell
from panel_app.tables import Cell, age_line, table
from panel_app.watch_list import GLANCE, glance_list, glance_of
from panel_app.why import why_page
from streamlake_assets.flows import benchmark_run
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.messages import Message
from streamlake_assets.market.quality import Imbalance, PartitionCount
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Instrument, Interval
from streamlake_assets.stores.dead_letters import Letter
from streamlake_assets.stores.page_ledger import BarBehind, Behind
from streamlake_assets.stores.page_quality import Percentiles, RowTimes, percentiles
from streamlake_assets.stores.page_rows import Listed
from streamlake_assets_tests.benchmark_data import QUICK, in_place_of_processes
from streamlake_assets_tests.panel.test_indicator_table import series
from streamlake_assets_tests.panel.test_page_parts import LISTED, PAYLOADS
from streamlake_assets_tests.panel.test_track_record import line
from streamlake_assets_tests.series_data import planted_range

NOW = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
HOSTILE = "<img src=x onerror=alert(1)>"
IBM = Instrument("IBM", "XNYS")


def store_with_ibm() -> DataStore:
    store = DataStore(lambda: NOW)
    store.note_listed(
        (
            Listed(IBM, AssetClass.STOCK, HOSTILE, (Interval.D1,)),
            Listed(Instrument("ACME", "XNYS"), AssetClass.STOCK, None, (Interval.M5, Interval.D1)),
        )
    )
    return store


def ticked(shell: Shell, times: int = 6) -> Shell:
    for _ in range(times):
        shell.tick()
    return shell


# address


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_address_that_names_no_view_shows_the_live_one_and_says_so(payload: bytes) -> None:
    assert view_named({"view": [payload]}) is ViewName.LIVE
    assert ignored(LISTED, {"view": [payload]}) == ("view",)


def test_what_an_address_names_rightly_is_not_called_ignored() -> None:
    good = {"view": [b"models"], "symbol": [b"IBM"], "exchange": [b"XNYS"], "interval": [b"5m"], "range": [b"5-days"]}
    assert ignored(LISTED, good) == () and view_named(good) is ViewName.MODELS
    assert ignored(LISTED, {**good, "interval": [b"1m"], "range": [b"9-yr"]}) == ("interval", "range")
    assert ignored(LISTED, {"utm_source": [b"x"]}) == () == ignored((), {"symbol": [b"x"]})


# the shell


def test_nothing_of_the_process_holds_a_page_that_is_over() -> None:
    shell = ticked(Shell(store_with_ibm(), {}))
    held = weakref.ref(shell.page)
    shell.close()
    del shell
    gc.collect()
    assert held() is None


def test_every_view_is_one_step_away_and_asks_only_while_in_sight() -> None:
    store = store_with_ibm()
    shell = ticked(Shell(store, {}))
    asked = {}
    for name in ViewName:
        shell.go(name)
        asked[name] = store.shelf.asked()
    assert asked[ViewName.LIVE] == {GLANCE}
    assert asked[ViewName.FORECASTS] == {q.LedgerOf(Target.LOG_RANGE, IBM)}
    assert asked[ViewName.MODELS] == {BENCHMARK, CLAIMS, VALUE, REGISTER}
    assert OPERATIONS in asked[ViewName.QUALITY] and not asked[ViewName.QUALITY] & asked[ViewName.MODELS]
    assert {one.source for one in asked[ViewName.INDICATORS] if isinstance(one, q.Indicators)} == set(q.Source)
    shell.close()
    assert store.shelf.asked() == set() and store.viewers() == 0


def test_the_address_chooses_view_and_instrument_and_a_wrong_word_is_said() -> None:
    shell = ticked(Shell(store_with_ibm(), {"view": [b"forecasts"], "symbol": [b"ACME"], "range": [b"x"]}))
    assert shell._tabs.active == list(TITLES).index(ViewName.FORECASTS)
    assert shell._instrument.value == "ACME|XNYS"
    assert shell._notice.visible and "(range)" in shell._notice.object
    shell.close()


def test_quality_and_models_are_shown_before_there_is_any_instrument() -> None:
    store = DataStore(lambda: NOW)
    shell = ticked(Shell(store, {"view": [b"quality"]}))
    store.shelf.put(OPERATIONS, operations(), 0.1)
    ticked(shell)
    assert "source to Kafka" in shell._views[ViewName.QUALITY]._latency.object  # type: ignore[attr-defined]
    shell.close()


@pytest.mark.parametrize("payload", ["'; DROP TABLE bars; --", HOSTILE, "", "9" * 30, "-1", "0"])
def test_whatever_a_browser_sends_a_widget_the_page_stays_as_it_is(payload: str) -> None:
    store = store_with_ibm()
    shell = ticked(Shell(store, {"view": [b"forecasts"]}))
    shell.go(ViewName.FORECASTS)
    view: Any = shell._views[ViewName.FORECASTS]
    store.shelf.put(q.LedgerOf(Target.LOG_RANGE, IBM), q.LedgerAnswer((line(7),), (line(7),), ()), 0.0)
    ticked(shell)
    before = store.shelf.asked()
    view._rows.picked = payload
    view.tick()
    assert store.shelf.asked() == before
    view._rows.picked = "7"
    assert q.WhyForecast(7) in store.shelf.asked()
    shell.close()


def test_going_back_in_the_address_follows_it_and_a_wrong_one_changes_nothing() -> None:
    shell = ticked(Shell(store_with_ibm(), {}))
    assert shell._address.wanted == "?view=live&symbol=IBM&interval=1d&range=3-mo"
    address = "?view=models&symbol=ACME&interval=1d&range=3-mo"
    shell._address.seen = address
    assert (shell._name, shell._instrument.value) == (ViewName.MODELS, "ACME|XNYS")
    assert shell._tabs.active == list(TITLES).index(ViewName.MODELS) and shell._address.wanted == address
    for wrong in ("?view=nothing", "?view=live&symbol=%3Cscript%3E", "?" + "a=1&" * 50, "?view=live&interval=7d"):
        shell.follow(wrong)
        assert (shell._name, shell._instrument.value) == (ViewName.MODELS, "ACME|XNYS")
    shell.close()


# words


def test_a_table_escapes_cells_and_picks_and_says_when_it_is_empty() -> None:
    made = table((HOSTILE,), [(Cell(HOSTILE, "ok", f'"{HOSTILE}'),), (HOSTILE,)])
    assert "<img" not in made and made.count("&lt;img") == 4 and 'data-pick="&quot;' in made
    assert "none here" in table(("a",), [], empty="none here")


def test_the_age_of_an_answer_is_said_and_a_failure_too() -> None:
    assert "loading" in age_line("x", Answer(), NOW)
    fresh = Answer(1, NOW - dt.timedelta(seconds=7), 0.25)
    assert "x as of 7 s ago, read in 250 ms" in age_line("x", fresh, NOW)
    assert "as of 7 s ago: away" in age_line("x", Answer(1, fresh.at, 0.25, "away"), NOW)
    assert "notice" in age_line("x", Answer(problem="away"), NOW)


def operations(**more: Any) -> q.OperationsAnswer:
    values: dict[str, Any] = {
        "heartbeats": {
            "consumer": (NOW - dt.timedelta(seconds=2), {"lag": 3, "stopped": [], "pid": 1}),
            "scorer": (NOW - dt.timedelta(hours=2), {"lag": 0}),
            "replay": (NOW - dt.timedelta(days=2), {"state": "finished"}),
        },
        "rows": RowTimes(percentiles([0.001, 0.002, 0.1]), Percentiles(), NOW),
        "to_documents": Percentiles(),
        "refreshed_at": None,
        "checks": [],
        "alerts": [],
        **more,
    }
    return q.OperationsAnswer(**values)


def test_a_process_that_is_not_heard_of_is_marked_and_a_finished_replay_is_not() -> None:
    made = quality_tables.processes(operations().heartbeats, NOW)
    assert '<span class="ok">2 s ago' in made and '<span class="bad">2 h ago' in made
    assert '<span class="quiet">2 days ago' in made or '<span class="quiet">48 h ago' in made
    assert "lag 3" in made and "pid" not in made


def test_latency_is_given_by_hop_and_what_was_not_measured_is_a_dash() -> None:
    made = quality_tables.latency(operations(), percentiles([0.02]), NOW)
    assert "2.0 ms" in made and "100 ms" in made and "20 ms" in made and "–" in made
    assert "never made" in made


def test_percentiles_are_nearest_ranks_and_never_below_zero() -> None:
    assert percentiles([]) == Percentiles()
    assert percentiles(range(1, 101)) == Percentiles(100, 50, 95, 99)
    assert percentiles([-1.0]).p50 == 0.0


def test_lag_is_unknown_while_the_broker_is_silent() -> None:
    made = quality_tables.lags([PartitionLag(0, 5, 9), PartitionLag(1, 5, None), PartitionLag(2, 5, 5)])
    assert '<span class="warn">4' in made and "unknown" in made and '<span class="ok">0' in made


def test_the_count_ledger_says_whether_it_adds_up() -> None:
    count = PartitionCount(topic="t", partition=0, first_offset=0, batches_end=9, stored_offset=9, messages=9, dead=1)
    assert "every message is counted once" in quality_tables.counts(q.CountsAnswer([count], []))
    wrong = quality_tables.counts(q.CountsAnswer([count], [Imbalance("t", 0, 3, 5, "no batch record")]))
    assert "do not add up" in wrong and "offsets 3..4: no batch record" in wrong


def test_dead_letters_show_reason_and_payload_as_text() -> None:
    letter = Letter(9, "finance-data", 1, 42, "bad_json", HOSTILE, HOSTILE.encode(), 30, NOW, "open", None, None, None)
    answer = q.DeadAnswer([letter], {"bad_json": (1, 2)}, 100)
    made = quality_tables.dead_summary(answer) + quality_tables.letters(answer, None)
    made += quality_tables.letter_page(letter, HOSTILE.encode() + b"\xff")
    assert "<img" not in made and "2 of 100 messages, 2.000%" in made and 'data-pick="9"' in made
    assert "\\xff" in made and "streamlake dead-letters replay 9" in made
    assert "no value" in quality_tables.letter_page(letter, None)


def test_refreshes_are_timed_from_the_second_one_on() -> None:
    seen = Refreshes()
    asked: list[Any] = []

    def times(topic: str, after: Any, until: Any) -> list[dt.datetime]:
        asked.append((topic, dict(after), dict(until)))
        return [NOW - dt.timedelta(seconds=30)]

    seen.note(None, times)
    seen.note({"refreshed_at": NOW - dt.timedelta(minutes=5), "next_offsets": {"bars:0": 5}}, times)
    assert asked == [] and seen.latencies() == Percentiles()
    for _ in range(2):
        seen.note({"refreshed_at": NOW, "next_offsets": {"bars:0": 8, "bars:1": 2}}, times)
    assert asked == [("bars", {0: 5}, {0: 8, 1: 2})]
    assert seen.latencies() == Percentiles(1, 30, 30, 30) and seen.refreshed_at == NOW


def test_a_number_is_explained_down_to_the_message() -> None:
    bar = BarBehind(
        session=dt.date(2012, 1, 1),
        close=10.0,
        source="s",
        status="settled",
        known_from=NOW,
        version_hash="ab" * 16,
        topic="finance-data",
        topic_id="id",
        partition=3,
        offset=1234,
    )
    behind = Behind(
        line=line(1, realised=0.01),
        target=Target.LOG_RANGE,
        data_hash="hash-of-data",
        registered_at=NOW,
        manifest={"rows": 12000, "features": ["a", HOSTILE], "offsets": {"finance-data:0": 7}},
        bars=(bar,),
        outcome=bar,
    )
    message = Message("finance-data", 3, 1234, b"IBM", b'{"close": 10}\xff<b>', NOW)
    made = why_page(1, Answer(q.WhyAnswer(behind, None, message, ("kafka was slow",)), NOW))
    for text in ("hash-of-data", "12,000", "1,234", "the outcome", "finance-data:0 7", "kafka was slow", "&lt;b&gt;"):
        assert text in made, text
    assert "<img" not in made
    assert "there is no such forecast" in why_page(1, Answer(None, NOW))


def test_a_glance_is_adjusted_and_begins_at_100() -> None:
    one = series("IBM", [100.0, 110.0, 55.0])
    split = dataclasses.replace(one, factor=np.array([1.0, 1.0, 0.5]))
    found = glance_of(split)
    assert found is not None and found.index == pytest.approx((100.0, 110.0, 110.0)) and found.close == 55.0
    assert glance_of(series("IBM", [100.0])) is None
    made = glance_list([found], IBM)
    assert 'data-pick="IBM|XNYS"' in made and 'aria-pressed="true"' in made and "+10.0%" in made
    assert "no settled history" in glance_list([], None)


def test_choosing_in_the_list_changes_the_instrument_and_nothing_else_does() -> None:
    store = store_with_ibm()
    shell = ticked(Shell(store, {}))
    lines = [glance_of(series(symbol, [100.0, 101.0])) for symbol in ("IBM", "ACME")]
    store.shelf.put(GLANCE, tuple(line for line in lines if line), 0.0)
    ticked(shell)
    watch_list = shell._live._watch_list
    for payload in (HOSTILE, "IBM", "ACME|XLON"):
        watch_list._list.picked = payload
        assert shell._instrument.value == "IBM|XNYS"
    watch_list._list.picked = "ACME|XNYS"
    assert shell._instrument.value == "ACME|XNYS"
    shell.close()


# models


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    in_place_of_processes(monkeypatch)
    frame = training_frame([planted_range(200, seed, f"S{seed}") for seed in range(2)], None, 63)
    return benchmark_run.run_benchmark(QUICK, frame, say=lambda _: None, command="again")


def test_a_benchmark_is_shown_as_it_was_stored(benchmark: dict[str, Any]) -> None:
    made = model_tables.verdict(benchmark) + model_tables.certificate(benchmark)
    assert benchmark["findings"]["verdict"]["says"].split(":")[0] in made and "comparisons hold" in made
    assert "spark forest" in model_tables.times(benchmark)
    assert "overtakes" in model_tables.crossovers(benchmark)
    assert "lines of code" in model_tables.complexity(benchmark)
    curves = model_tables.curves(benchmark, "forest")
    assert set(curves["sklearn forest"]) == {10_000, 100_000, 1_000_000}
    assert model_tables.peaks(benchmark)


def test_a_report_that_was_not_made_says_how_to_make_it() -> None:
    assert model_tables.NOT_MADE in model_tables.not_made("Claims audit")
    store = store_with_ibm()
    shell = ticked(Shell(store, {"view": [b"models"]}))
    for question in (BENCHMARK, CLAIMS, VALUE):
        store.shelf.put(question, None, 0.0)
    ticked(shell)
    view: Any = shell._views[ViewName.MODELS]
    for pane in (view._verdict, view._claims, view._value):
        assert "streamlake demo --reports" in pane.object
    shell.close()


def test_an_engine_has_its_colour_in_every_picture_and_two_ways_of_it_have_two() -> None:
    ways = ("sklearn forest", "dask forest", "dask block forest", "spark forest", "elsewhere")
    found = model_tables.colours(ways)
    assert len(set(found.values())) == len(ways)
    assert found["sklearn forest"] == model_tables.colours(["sklearn linear"])["sklearn linear"]
    assert found["dask forest"] == model_tables.colour("dask linear, 30,000 rows")
