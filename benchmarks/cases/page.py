"""The page in a browser: first paint, from the broker to the browser and to its frame, memory of many sessions.

Real broker, MySQL, document store, consumer and page process, and a headless Chromium on the same machine, whose
drawing is done by the processors too. Eight instruments with 1,500 daily bars each; everybody looks at one of them.

Paint: milliseconds from the navigation, by the browser's own clock: first content by its paint entry, then until the
canvas has a size, candles are in the chart and the frame that draws them is over. The server is warm; a viewer is new
(empty cache) or comes again (same cache, new page).

To the browser: eight sessions, each in a browser context of its own, all on the instrument that gets ten updates a
second, nine of which change the open session's bar while the tenth settles it. The start is the broker's time of the
message (whole milliseconds, LogAppendTime), which is before the row; from the row, by the record of its batch a moment
before the commit, is told too. The end is the end of the frame in which the chart draws the update, by the same
machine's clock (whole milliseconds). A session is patched at most ten times a second, so an update may wait up to
100 ms for its session's turn by design: a plug-in of the server process notes when the update arrives there and when
each session takes it up, so that this wait stands apart. An update that a later one overtakes meanwhile counts as shown
when that one is. Checked: every session shows the newest update and as many candles as there are sessions, the tables
hold them, and no page had an error.

The same again with one of the eight in a browser and with none: the others speak the browser's protocol and draw
nothing, so that what the server takes can be told from what eight browsers take that draw on the server's processors.
Their end is when the message with the update was read from the session's websocket.

Memory: resident memory of the server process (with the plug-in, which counts its open sessions) with 1, 10, 25 and 50
such sessions open while an update a second arrives, when all are closed again, and once more: what the first time took
is kept for the next, so the measure is the last time against the first.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import sqlalchemy as sa

from benchmarks.checks import require
from benchmarks.measure import cpu_seconds, family, rss_mib
from benchmarks.page_chain import HISTORY, UPDATED, PageChain, Sent, Stream, page_chain
from benchmarks.probe_names import FIRST
from benchmarks.samples import Sight, between, first_sights, growth, spread
from benchmarks.sockets import Pages
from benchmarks.viewing import Viewer, chromium, new_context
from streamlake_assets.flows.machine import wait_idle
from streamlake_assets.market.types import Bar
from streamlake_assets.servers.waiting import Say, wait_until
from streamlake_assets.stores import schema

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAME = "page"
LOADS = 10
WARM_LOADS = 3
SESSIONS = 8
DRAWN = (SESSIONS, 1, 0)
"""How many of the sessions are in a browser."""
RATE = 10
WARM_S = 15
SECONDS = {"quick": 60, "full": 180}
OPEN = (1, 10, 25, 50)
CYCLES = {"quick": 2, "full": 3}
"""How often all pages are opened and closed: the second time tells growth from what is kept for use."""
SETTLE_S = 8.0
"""After the last session is gone: time for what its end leaves to be collected."""
IDLE_S = 10.0
_VOLUME = re.compile(rf"(?<![\d.])({str(FIRST)[:4]}\d{{4}})(?=\.0\b|[,\]}}])")
"""Volumes of updates in a message, below ``FIRST`` + 10,000."""
SHOWN_S = 120.0
"""Longest wait for the newest update: on a crowded machine a browser falls behind, and late is not lost."""


def run(profile: str, say: Say) -> dict[str, Any]:
    """Start the chain and measure all three.

    Raises:
        MissingToolError: there is no browser.
        WrongRunError: a page did not show what was sent.
    """
    with page_chain(say) as chain, chromium() as browser:
        found: dict[str, Any] = {
            "case": NAME,
            "servers": chain.stack.servers,
            "browser": f"Chromium {browser.version}, headless",
            "candles": HISTORY,
        }
        chain.serve("panel", probed=False)
        say(f"{NAME}: the page is served, {found['browser']}")
        found["paint"] = _paint(chain, browser)
        chain.stack.supervisor.stop("panel")
        chain.serve("panel-probed", probed=True)
        found["to_browser"] = []
        for drawn in DRAWN:
            found["to_browser"].append(_to_browser(chain, browser, SECONDS[profile], drawn))
            chain.stack.supervisor.restart("panel-probed")
        found["memory"] = _memory(chain, CYCLES[profile])
    return found


def _paint(chain: PageChain, browser: "Browser") -> dict[str, Any]:
    """Load the page as new and as returning viewers, in turn."""
    with new_context(browser) as known:
        for _ in range(WARM_LOADS):
            _load(chain, known)
        busy = wait_idle(IDLE_S)
        fresh, again = [], []
        for _ in range(LOADS):
            with new_context(browser) as stranger:
                fresh.append(_load(chain, stranger))
            again.append(_load(chain, known))
    for way, loads in (("new viewer", fresh), ("again", again)):
        line = {name: spread(one[name] for one in loads).rounded() for name in loads[0]}
        chain.say(f"{NAME}, paint, {way}: {line}")
    return {"fresh": fresh, "again": again, "busy_before_percent": busy}


def _load(chain: PageChain, context: Any) -> dict[str, float]:
    viewer = Viewer(context.new_page(), chain.url(0))
    found = viewer.paint_ms()
    require("page, candles of a new page", viewer.newest()["candles"], chain.market.candles)
    require("page, errors", viewer.errors, [])
    viewer.close()
    return found


def _to_browser(chain: PageChain, browser: "Browser", seconds: int, drawn: int) -> dict[str, Any]:
    """Stream to the sessions, of which so many are in a browser; the others draw nothing."""
    with ExitStack() as stack:
        contexts = [stack.enter_context(new_context(browser)) for _ in range(drawn)]
        viewers = [Viewer(one.new_page(), chain.url(number)) for number, one in enumerate(contexts)]
        pages = stack.enter_context(opened(chain))
        sockets = [pages.open(chain.query(number)) for number in range(drawn, SESSIONS)]
        chain.wait_open(SESSIONS)
        for viewer in viewers:
            viewer.note_updates(FIRST)

        def shown(newest: Bar) -> None:
            _require_shown(chain, viewers, newest)
            word = str(int(newest.volume or 0))
            require("page, sessions that heard the newest", sum(one.hears(word) for one in sockets), len(sockets))

        newest, sent, found = _streamed(chain, seconds, shown)
        _require_stored(chain, newest)
        seen = [viewer.updates() for viewer in viewers]
        seen += [{"got": updates_of(one.heard())} for one in sockets]
        found |= stages(sent, *_noted(chain), seen)
    chain.say(f"{NAME}, {SESSIONS} sessions, {drawn} drawn, at {RATE}/s: {found['stages']}")
    return {"drawn": drawn, **found}


def _streamed(
    chain: PageChain, seconds: int, require_shown: Callable[[Bar], None]
) -> tuple[Bar, list[Sent], dict[str, Any]]:
    """Send updates and wait until the newest is shown; return it, those that count, and what was noted of the run."""
    warm, count = WARM_S * RATE, seconds * RATE
    busy = wait_idle(IDLE_S)
    stream = Stream(chain.settings.kafka, chain.market, RATE, warm + count)
    stream.start()
    time.sleep(WARM_S)
    before, began = _spent(chain), time.perf_counter()
    newest = stream.end()
    took = time.perf_counter() - began
    cores = {name: round((after - before[name]) / took, 2) for name, after in _spent(chain).items()}
    require_shown(newest)
    return (
        newest,
        chain.sent(stream, count),
        {
            "sessions": SESSIONS,
            "rate": RATE,
            "seconds": seconds,
            "updates": count,
            "producer_late_ms": spread(stream.late_ms[warm:]).rounded(),
            "cores": cores,
            "busy_before_percent": busy,
        },
    )


def _noted(chain: PageChain) -> tuple[list[Sight], list[list[Sight]]]:
    """Return what the plug-in noted: arrivals in the process, and what each session took up, in ms."""
    probed = chain.probe()
    return _in_ms(probed["arrived"]), [_in_ms(probed["taken"][str(number)]) for number in range(SESSIONS)]


def updates_of(heard: Iterable[tuple[float, str]]) -> list[Sight]:
    """Return the newest update in each message that has one, and when it came, by the volumes of ``probe_names``."""
    found = []
    for at, text in heard:
        if numbers := [int(digits) - FIRST for digits in _VOLUME.findall(text)]:
            found.append((max(numbers), at))
    return found


def _in_ms(sights: Sequence[Sequence[float]]) -> list[Sight]:
    return [(int(number), 1000 * at) for number, at in sights]


def stages(
    sent: Sequence[Sent],
    arrived: Sequence[Sight],
    taken: Sequence[Sequence[Sight]],
    pages: Sequence[Mapping[str, Sequence[Sight]]],
) -> dict[str, Any]:
    """Return the spread of every part of the way, over all updates and sessions, in ms; and how many were overtaken.

    Args:
        sent: the updates with their times before the page.
        arrived: sights in the server process.
        taken: sights by each session's turn.
        pages: sights of each session's browser, ``got`` and, where it draws, ``shown``, in the order of ``taken``.
    """
    numbers = [one.number for one in sent]
    event, broker, row = ([getattr(one, name) for one in sent] for name in ("event_ms", "broker_ms", "row_ms"))
    here = first_sights(numbers, arrived)
    parts: dict[str, list[float]] = {
        "source to broker": between(event, broker),
        "broker to server process": between(broker, here),
    }
    apart = 0
    for ticks, page in zip(taken, pages, strict=True):
        last = "shown" if "shown" in page else "got"
        tick, got, ends = (first_sights(numbers, sights) for sights in (ticks, page["got"], page[last]))
        wait, whole = between(_known(here), tick), between(broker, ends)
        drawn = [("browser to the end of its frame", between(_known(got), ends))] if "shown" in page else []
        for name, values in (
            ("wait for the session's turn", wait),
            ("turn to browser", between(_known(tick), got)),
            *drawn,
            (f"broker to browser, {last}", whole),
            ("the same without the wait", [all_of - part for all_of, part in zip(whole, wait, strict=True)]),
            (f"row to browser, {last}", between(row, ends)),
        ):
            parts.setdefault(name, []).extend(values)
        apart += len({number for number, _ in page[last]} & set(numbers))
    return {
        "stages": {name: spread(values).rounded() for name, values in parts.items()},
        "overtaken": round(1 - apart / (len(numbers) * len(pages)), 4),
    }


def _known(sights: Sequence[float | None]) -> list[float]:
    """Return the times of updates that were all seen; ``between`` refuses one that was not before this is asked."""
    return [at for at in sights if at is not None]


def _require_shown(chain: PageChain, viewers: Sequence[Viewer], newest: Bar) -> None:
    wanted = {
        "candles": chain.market.candles,
        **{name: float(getattr(newest, name) or 0) for name in ("open", "high", "low", "close", "volume")},
        "note": "synthetic" if newest.status.value == "settled" else "provisional, synthetic",
    }
    for number, viewer in enumerate(viewers):
        wait_until(lambda viewer=viewer: viewer.newest() == wanted, SHOWN_S)  # type: ignore[misc]
        require(f"page, session {number}", viewer.newest(), wanted)
        require(f"page, errors of session {number}", viewer.errors, [])


def _require_stored(chain: PageChain, newest: Bar) -> None:
    b, i = schema.bars.c, schema.instruments.c
    query = (
        sa.select(sa.func.count(), sa.func.max(b.volume))
        .join_from(schema.bars, schema.instruments, i.id == b.instrument_id)
        .where(i.symbol == UPDATED)
    )
    with chain.stack.engine.connect() as connection:
        found = tuple(connection.execute(query).one())
    require("page, rows", found, (chain.market.candles, newest.volume))


def _spent(chain: PageChain) -> dict[str, float]:
    own = {name: cpu_seconds(chain.pid(name)) for name in ("panel-probed", "consumer")}
    return {**own, "all, browser included": sum(cpu_seconds(child.pid) for child in psutil.Process().children())}


def _memory(chain: PageChain, cycles: int) -> dict[str, Any]:
    pid = chain.pid("panel-probed")
    found: dict[str, Any] = {"unused_mib": _rss_mib(pid), "cycles": []}
    with opened(chain) as pages:
        pages.open(chain.query(0))
        _close(chain, pages)
        found["before_mib"] = _rss_mib(pid)
        stream = Stream(chain.settings.kafka, chain.market, 1)
        stream.start()
        for _ in range(cycles):
            found["cycles"].append(_cycle(chain, pages, pid))
        newest = stream.end()
    chain.stored.wait(stream.places)
    _require_stored(chain, newest)
    points = [(float(point["sessions"]), point["mib"]) for point in found["cycles"][0]["points"]]
    found["mib_per_session"] = round(growth(points), 2)
    chain.say(f"{NAME}, memory: {found}")
    return found


def _cycle(chain: PageChain, pages: Pages, pid: int) -> dict[str, Any]:
    points = []
    there = 0
    for count in OPEN:
        for number in range(there, count):
            pages.open(chain.query(number))
        there = count
        chain.wait_open(count)
        points.append({"sessions": count, "mib": _rss_mib(pid)})
    _close(chain, pages)
    return {"points": points, "closed_mib": _rss_mib(pid)}


def _close(chain: PageChain, pages: Pages) -> None:
    pages.close()
    chain.wait_open(0)
    time.sleep(SETTLE_S)


@contextmanager
def opened(chain: PageChain) -> Iterator[Pages]:
    """Open pages without a browser; at the end they are closed."""
    pages = Pages(chain.address)
    try:
        yield pages
    finally:
        pages.end()


def _rss_mib(pid: int) -> float:
    """Return the median of a few looks: collections come and go."""
    looks = []
    for _ in range(9):
        looks.append(rss_mib(family(pid)))
        time.sleep(0.3)
    return round(sorted(looks)[len(looks) // 2], 1)
