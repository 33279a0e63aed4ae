"""A page waits for a browser that draws more slowly than changes come, and sends it the newest then."""

import math
from typing import Any

import pytest

from panel_app.pace import MOST_AHEAD, PATIENCE_S, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Page:
    def __init__(self) -> None:
        self.clock = Clock()
        self.pace = Pace(self.send, self.clock)
        self.frames = 0

    def send(self) -> bool:
        may = self.pace.may_send()
        if may:
            self.frames += 1
            self.pace.sent()
        return may

    def draw(self, frames: Any = None) -> None:
        self.pace.probe.end = self.pace.probe.start if frames is None else frames


def test_a_browser_that_draws_at_once_is_never_waited_for() -> None:
    page = Page()
    for _ in range(50):
        assert page.send()
        page.draw()
    assert page.frames == 50


def test_a_browser_that_draws_nothing_gets_no_more_and_the_next_frame_when_it_has_drawn() -> None:
    page = Page()
    assert [page.send() for _ in range(MOST_AHEAD + 3)] == [True] * MOST_AHEAD + [False] * 3
    page.draw()
    assert page.frames == MOST_AHEAD + 1, "what had to wait is sent by the answer"
    page.draw()
    assert page.frames == MOST_AHEAD + 1, "nothing waited"


def test_a_lost_answer_stops_a_page_for_a_while_only() -> None:
    page = Page()
    while page.send():
        pass
    page.clock.now += PATIENCE_S / 2
    assert not page.send()
    page.clock.now += PATIENCE_S / 2
    assert [page.send() for _ in range(MOST_AHEAD + 1)] == [True] * MOST_AHEAD + [False]


@pytest.mark.parametrize("said", [-1, 0, 10**9, math.inf, math.nan])
def test_an_answer_that_cannot_be_is_no_answer(said: float) -> None:
    page = Page()
    while page.send():
        pass
    page.draw(said)
    assert not page.send() and page.frames == MOST_AHEAD
    page.draw()
    assert page.frames == MOST_AHEAD + 1
