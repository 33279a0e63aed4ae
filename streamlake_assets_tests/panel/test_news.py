"""When pages look: at once after a pause, together within a tenth of a second, never after they have left."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

from panel_app.news import EARLY_S, EVERY_S, News

SERIES = "IBM"


class Page:
    """Stands for a document: what it is to do next is done by the loop; notes when it looked.

    ``shows``: whether there is something to show when it looks.
    """

    def __init__(self, series: str = SERIES, shows: bool = True) -> None:
        self.series, self.shows = series, shows
        self.looks: list[float] = []
        self.looked = asyncio.Event()

    def add_next_tick_callback(self, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(work)

    def look(self) -> bool:
        self.looks.append(asyncio.get_running_loop().time())
        self.looked.set()
        return self.shows

    def looks_at(self) -> str:
        return self.series

    async def next(self) -> None:
        await asyncio.wait_for(self.looked.wait(), 10)
        self.looked.clear()


def ran(work: Callable[[News], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(work(News()))


def test_news_before_any_page_wakes_nobody() -> None:
    News().spread(SERIES)


def test_the_first_change_is_shown_at_once_and_what_follows_together() -> None:
    async def story(news: News) -> None:
        page = Page()
        news.join(page, page.looks_at, page.look)
        news.spread(SERIES)
        for _ in range(10):
            # turns of the loop without waiting for anything
            await asyncio.sleep(0)
        assert len(page.looks) == 1
        for _ in range(50):
            news.spread(SERIES)
        page.looked.clear()
        await page.next()
        # twice as long as until a third look, if there were one
        await asyncio.sleep(2 * EVERY_S)
        first, second = page.looks
        assert second - first >= EVERY_S - EARLY_S

    ran(story)


def test_over_time_a_page_looks_ten_times_a_second_at_most() -> None:
    async def story(news: News) -> None:
        page = Page()
        news.join(page, page.looks_at, page.look)
        for _ in range(12):
            news.spread(SERIES)
            await page.next()
        gaps = [after - before for before, after in pairwise(page.looks)]
        assert min(gaps) >= EVERY_S - EARLY_S
        assert page.looks[-1] - page.looks[0] >= len(gaps) * EVERY_S - EARLY_S

    ran(story)


def test_news_of_other_threads_reaches_every_page() -> None:
    async def story(news: News) -> None:
        pages = [Page() for _ in range(3)]
        for page in pages:
            news.join(page, page.looks_at, page.look)
        for _ in range(3):
            thread = threading.Thread(target=news.spread, args=(SERIES,))
            thread.start()
            for page in pages:
                await page.next()
            thread.join()
        assert [len(page.looks) for page in pages] == [3, 3, 3]

    ran(story)


def test_a_page_that_has_left_is_not_woken_by_what_was_on_its_way() -> None:
    async def story(news: News) -> None:
        gone, there = Page(), Page()
        for page in (gone, there):
            news.join(page, page.looks_at, page.look)
        news.spread(SERIES)
        news.leave(gone)
        await there.next()
        news.spread(SERIES)
        # its look of this news waits for its turn
        await asyncio.sleep(0)
        news.leave(there)
        other = Page()
        news.join(other, other.looks_at, other.look)
        news.spread(SERIES)
        await other.next()
        await asyncio.sleep(2 * EVERY_S)
        assert (gone.looks, len(there.looks)) == ([], 1)

    ran(story)


def test_what_comes_while_a_page_looks_is_looked_at_again() -> None:
    async def story(news: News) -> None:
        page = Page()

        def look() -> bool:
            if not page.looks:
                news.spread(SERIES)
            return page.look()

        news.join(page, page.looks_at, look)
        news.spread(SERIES)
        await page.next()
        await page.next()
        assert len(page.looks) == 2

    ran(story)


def test_a_page_is_not_woken_by_another_series() -> None:
    async def story(news: News) -> None:
        other, mine = Page("AAPL"), Page()
        for page in (other, mine):
            news.join(page, page.looks_at, page.look)
        news.spread(SERIES)
        await mine.next()
        mine.series = "AAPL"
        news.spread("AAPL", "MSFT")
        for page in (other, mine):
            await page.next()
        assert (len(other.looks), len(mine.looks)) == (1, 2)

    ran(story)


def test_a_page_that_cannot_show_anything_is_not_asked_more_often() -> None:
    async def story(news: News) -> None:
        page = Page(shows=False)
        news.join(page, page.looks_at, page.look)
        for _ in range(6):
            news.spread(SERIES)
            await page.next()
        assert min(after - before for before, after in pairwise(page.looks)) >= EVERY_S

    ran(story)
