"""The pure parts of the benchmarks of page, cache and Dagster: samples, sights, made history, sections."""

import datetime as dt
from itertools import islice
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from benchmarks import asked_report, made_history, page_chain, report
from benchmarks.cases.page import stages, updates_of
from benchmarks.page_chain import HISTORY, PER_SESSION, Market, Sent
from benchmarks.probe_names import FIRST
from benchmarks.samples import Goal, between, first_sights, growth, spread
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.contract import validate_bar
from streamlake_assets.market.series import from_ordinal
from streamlake_assets.market.types import Status


def test_percentiles_are_nearest_ranks_of_the_samples() -> None:
    found = spread(range(100, 0, -1))
    assert found == (100, 1, 50, 95, 99, 100)
    assert spread([7.0]) == (1, 7, 7, 7, 7, 7)
    with pytest.raises(ValueError, match="no sample"):
        spread([])


def test_an_update_is_seen_with_what_overtook_it_and_never_before_it_was_there() -> None:
    sights = [(1, 10.0), (4, 20.0), (5, 30.0)]
    assert first_sights([1, 2, 3, 4, 5, 6], sights) == [10.0, 20.0, 20.0, 20.0, 30.0, None]
    assert first_sights([5], sights) == [30.0]
    assert first_sights([1], []) == [None]


def test_what_never_ended_has_no_time() -> None:
    assert between([1.0, 2.0], [4.0, 4.0]) == [3.0, 2.0]
    with pytest.raises(ValueError, match="1 of 2 never ended"):
        between([1.0, 2.0], [4.0, None])


def test_growth_is_the_slope_of_the_line_through_all_points() -> None:
    assert growth([(1, 102.0), (10, 120.0), (50, 200.0)]) == pytest.approx(2.0)
    assert growth([(1, 5.0), (2, 5.0)]) == 0
    with pytest.raises(ValueError, match="two different"):
        growth([(3, 1.0), (3, 2.0)])


@pytest.mark.parametrize(("value", "word"), [(40, "goal"), (41, "gate"), (120, "gate"), (121, "**past the gate**")])
def test_a_value_is_told_by_goal_and_gate(value: float, word: str) -> None:
    assert Goal(40, 120).verdict(value) == word
    assert Goal(40).verdict(value) == ("goal" if value <= 40 else "**not reached**")


def test_the_wait_for_the_tick_stands_apart_in_every_session() -> None:
    # two sessions: the first ticks 5 ms after each arrival, the second takes both updates up at once, 100 ms later
    sent = [Sent(7, 990.0, 1000.0, 1001.0), Sent(8, 1090.0, 1100.0, 1101.0)]
    arrived = [(6, 900.0), (7, 1002.0), (8, 1102.0)]
    taken = [[(7, 1007.0), (8, 1107.0)], [(8, 1202.0)]]
    quick = {"got": [(7, 1009.0), (8, 1109.0)], "shown": [(7, 1020.0), (8, 1120.0)]}
    slow = {"got": [(8, 1204.0)], "shown": [(8, 1220.0)]}
    found = stages(sent, arrived, taken, [quick, slow])
    parts = found["stages"]
    assert found["overtaken"] == 0.25
    assert parts["source to broker"]["most"] == 10
    assert parts["broker to server process"]["most"] == 2
    assert parts["wait for the session's turn"]["most"] == 200
    assert parts["wait for the session's turn"]["least"] == 5
    assert parts["turn to browser"]["most"] == 2
    assert parts["browser to the end of its frame"]["p50"] == 11
    assert parts["broker to browser, shown"]["most"] == 220
    assert parts["row to browser, shown"]["most"] == 219
    assert parts["the same without the wait"]["most"] == 20
    assert parts["broker to browser, shown"]["samples"] == 4
    undrawn = stages(sent, arrived, taken, [{"got": quick["got"]}, {"got": slow["got"]}])
    assert undrawn["stages"]["broker to browser, got"]["most"] == 204
    assert undrawn["stages"]["row to browser, got"]["least"] == 8
    assert not any("frame" in name for name in undrawn["stages"])
    assert undrawn["overtaken"] == 0.25


def test_updates_are_known_in_messages_by_their_volumes() -> None:
    patch = '{"patches":{"close":[[3,12.5]],"volume":[[3,10000007.0]],"left":[[3,1357171200000]]}}'
    stream = '{"data":{"volume":[10000008,10000009],"n":[1,2]}}'
    others = '{"patches":{"volume":[[3,99999.0]],"left":[[3,210000010.0]],"x":[1.10000007]}}'
    assert updates_of([(5.0, patch), (6.0, others), (7.0, stream)]) == [(7, 5.0), (9, 7.0)]


def test_an_update_that_a_browser_never_showed_is_no_sample_but_a_failure() -> None:
    sent = [Sent(0, 1.0, 2.0, 3.0)]
    page: dict[str, list[tuple[int, float]]] = {"got": [(0, 6.0)], "shown": []}
    with pytest.raises(ValueError, match="never ended"):
        stages(sent, [(0, 3.0)], [[(0, 5.0)]], [page])


def test_updates_move_the_open_session_and_settle_it_with_the_last_one() -> None:
    market = Market()
    history = list(market.history())
    made = list(islice(market.updates(), 25))
    for bar in [*history[-8:], *made]:
        validate_bar(bar)
    assert [int(bar.volume or 0) - FIRST for bar in made] == list(range(25))
    assert max(int(bar.volume or 0) for bar in history) < FIRST
    assert len({bar.bar_time for bar in made}) == 3
    assert min(bar.bar_time for bar in made) > max(bar.bar_time for bar in history)
    assert [number for number, bar in enumerate(made) if bar.status is Status.SETTLED] == [9, 19]
    first = made[:PER_SESSION]
    assert [bar.as_of for bar in first] == sorted({bar.as_of for bar in first}), "each one is newer than the one before"
    assert (market.sent, market.candles) == (25, HISTORY + 3)


class Outbox:
    """In the place of a publisher: remembers what was sent, or refuses it."""

    sent: ClassVar[list[bytes]] = []
    places: ClassVar[dict[tuple[str, int], int]] = {("topic", 0): 3}
    refuses = False

    def __init__(self, _bootstrap: str) -> None:
        self.sent.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, _topic: str, _key: str, value: bytes) -> None:
        if self.refuses:
            raise TryLaterError("no broker")
        self.sent.append(value)


def test_a_stream_sends_as_many_as_asked_or_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_chain, "Publisher", Outbox)
    market = Market()
    counted = page_chain.Stream("", market, 10_000.0, 23)
    counted.start()
    assert int(counted.end().volume or 0) == FIRST + 22
    assert (len(Outbox.sent), market.sent, counted.places) == (23, 23, Outbox.places)
    endless = page_chain.Stream("", market, 10_000.0)
    endless.start()
    assert int(endless.end().volume or 0) == FIRST + market.sent - 1, "it goes on where the first one ended"
    monkeypatch.setattr(Outbox, "refuses", True)
    failed = page_chain.Stream("", market, 10_000.0)
    failed.start()
    with pytest.raises(TryLaterError, match="no broker"):
        failed.end()


def test_made_history_keeps_the_order_of_prices_and_its_lines_say_what_its_series_hold() -> None:
    days = made_history.days(300)
    series = made_history.series(3, days)
    assert series.high.min() > 0 and len(series) == 300
    assert np.all(series.high >= np.maximum(series.open, series.close))
    assert np.all(series.low <= np.minimum(series.open, series.close)) and series.low.min() > 0
    rows = [line.rstrip("\n").split("\t") for line in made_history.lines(3, 17, days, 1000)]
    assert [row[0] for row in rows] == ["17"] * 300
    assert [row[8] for row in rows] == [str(1000 + place) for place in range(300)]
    for place, name in enumerate(("open", "high", "low", "close", "volume"), 3):
        assert [float(row[place]) for row in rows] == list(getattr(series, name)), "the same double, not a near one"
    assert [dt.date.fromisoformat(row[2]) for row in rows] == days.dates
    again, other = made_history.series(3, days), made_history.series(4, days)
    assert np.array_equal(again.close, series.close) and not np.array_equal(other.close, series.close)


def test_a_history_is_cut_into_its_years_without_loss() -> None:
    series = made_history.series(0, made_history.days(600))
    parts = list(made_history.by_year(series))
    assert [year for year, _ in parts] == [2010, 2011, 2012]
    assert np.array_equal(np.concatenate([part.close for _, part in parts]), series.close)
    for year, part in parts:
        assert part.last_session.year == from_ordinal(part.sessions[0]).year == year


def good_page() -> dict[str, Any]:
    part = spread([1.0, 2.0, 3.0]).rounded()
    return {
        "case": "page",
        "servers": ["a broker", "a database"],
        "browser": "Chromium 1",
        "candles": 1500,
        "paint": {
            "fresh": [{"first_ms": 300.0, "chart_ms": 1400.0}, {"first_ms": 310.0, "chart_ms": 1600.0}],
            "again": [{"first_ms": 200.0, "chart_ms": 900.0}],
            "busy_before_percent": 3.0,
        },
        "to_browser": [
            {
                "drawn": drawn,
                "sessions": 8,
                "rate": 10,
                "seconds": 60,
                "updates": 600,
                "stages": {
                    "wait for the session's turn": part,
                    f"broker to browser, {'shown' if drawn else 'got'}": {**part, "p99": p99},
                },
                "overtaken": 0.1,
                "producer_late_ms": part,
                "cores": {"consumer": 0.1},
                "busy_before_percent": 3.0,
            }
            for drawn, p99 in ((8, 119.0), (0, 39.0))
        ],
        "memory": {
            "unused_mib": 200.0,
            "before_mib": 250.0,
            "cycles": [
                {"points": [{"sessions": 1, "mib": 251.0}, {"sessions": 50, "mib": 300.0}], "closed_mib": 300.0},
                {"points": [{"sessions": 1, "mib": 301.0}, {"sessions": 50, "mib": 360.0}], "closed_mib": 360.0},
            ],
            "mib_per_session": 2.0,
        },
    }


def test_the_report_of_the_page_tells_what_was_not_reached() -> None:
    (text,) = asked_report.sections({"page": good_page()})
    assert "| a new viewer: canvas and candles drawn | 2 | 1,400 | 1,600 | ≤ 1500 | **not reached** |" in text
    assert "| a new viewer: first content | 2 | 300 | 310 | ≤ 1500 | goal |" in text
    assert "to the frame: 119 ms, goal ≤ 40 (gate 120): gate." in text
    assert "to the socket: 39.0 ms, goal ≤ 40 (gate 120): goal." in text
    assert "With 50 sessions for the last time it is 1.20 of the first time, goal ≤ 1.1: **not reached**" in text


def test_a_result_of_named_cases_alone_has_a_report_with_its_machine() -> None:
    machine = {
        "processor": "a processor",
        "cores": 2,
        "memory_gib": 8,
        "system": "Linux",
        "python": "3.11",
        "load_before": [0.1],
        "packages": {},
    }
    loads = {name: spread([1.0, 4.0]).rounded(3) for name in ("load_s", "cpu_s", "dagster_s", "process_s")}
    location = {
        "case": "location",
        "servers": [],
        "holds": {"assets": 3},
        "loads": loads,
        "ticks": {"raw_watermark": {"first": 6.0, **spread([0.1]).rounded(3)}},
        "busy_before_percent": 1.0,
    }
    result = {
        "profile": "quick",
        "made_at": "2026-01-02T03:04:05+00:00",
        "commit": "abc1234",
        "rows": 1,
        "rounds": 3,
        "machine": machine,
        "not_run": {},
        "runs": [],
        "asked": {"location": location},
    }
    text, pictures = report.report(result)
    assert text.startswith(
        "# Benchmarks, profile quick\n\n2026-01-02 03:04 UTC, commit abc1234.\n\na processor, 2 cores"
    )
    assert "Worst 4.00 s, goal ≤ 3: **not reached**." in text
    assert "| raw_watermark | 1 | 6.00 | 0.10 | 0.10 | **not reached** |" in text
    assert pictures == {}


def test_the_report_of_the_cache_gives_ratios_inside_a_round() -> None:
    rounds = [
        {
            "documents_s": 1.0 * slow,
            "periods_s": 0.5 * slow,
            "buckets_s": 5.0 * slow,
            "sql_s": 100.0 * slow,
            "sql_read_s": 99.0 * slow,
            "aggregate_s": 2.0 * slow,
        }
        for slow in (1.0, 2.0, 3.0)
    ]
    found = {
        "case": "cache",
        "servers": ["a stand-in, not MongoDB"],
        "rows": 1_000,
        "instruments": 2,
        "sessions": 500,
        "load_s": 1.0,
        "buckets_s": 1.0,
        "refresh_s": 1.0,
        "rounds": rounds,
    }
    (text,) = asked_report.sections({"cache": found})
    assert "a stand-in, not MongoDB" in text
    assert "Documents / the page's SQL: 0.0100 (0.0100 to 0.0100), goal ≤ 0.02 (gate 0.05): goal." in text
    assert "Documents / the statement by hand: 0.5000 (0.5000 to 0.5000)" in text
