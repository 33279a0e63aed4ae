"""Many pages that come and go, and a browser that does not read any more: the page's process gets its memory back.

Fault row 37.
"""

import base64
import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from benchmarks.probe_names import PROBE, PROBE_PATH
from benchmarks.sockets import Pages, token_of
from panel_app.serving import PATH, PING_S
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets_tests.browser.viewing import Served, served_page
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.panel.page_data import daily, migrate, publish, store_topic

pytestmark = [pytest.mark.servers, pytest.mark.browser, pytest.mark.slow]
SESSIONS = 50
GROWTH = 1.10
ENDED_S = 90.0


@pytest.fixture(scope="module")
def served(
    broker: LocalKafka,
    broker_settings: Settings,
    document_server: LocalDocumentStore,
    fresh_database: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    settings = fresh_database.model_copy(update={"kafka_bootstrap": broker_settings.kafka})
    migrate(settings)
    publish(settings, [daily("MANY", number) for number in range(60)])
    store_topic(settings)
    with served_page(settings, tmp_path_factory.mktemp("page") / "page.log", ("--plugins", PROBE)) as found:
        yield found


@pytest.fixture(scope="module")
def address(served: Served) -> str:
    return served.address


def sessions(served: Served) -> int:
    """Return how many sessions the process has, as its probe counts them."""
    with urllib.request.urlopen(f"{served.address}{PROBE_PATH}", timeout=30) as answer:  # noqa: S310  # our own address
        return int(json.load(answer)["open"])


def mib(served: Served) -> float:
    return psutil.Process(served.pid).memory_info().rss / 2**20


def test_fifty_pages_come_and_go_and_memory_and_threads_return(served: Served, pages: Pages) -> None:
    first, threads = round_of(served, pages)
    # what the first round took the allocator keeps for the next; pages that were kept would come on top of it
    again, _ = round_of(served, pages)
    process = psutil.Process(served.pid)
    assert wait_until(lambda: process.num_threads() <= threads, ENDED_S), (threads, process.num_threads())
    print_line(
        f"{SESSIONS} pages: {first:.0f} MiB, a second time {again:.0f} MiB, {mib(served):.0f} MiB when they are "
        f"closed; {threads} threads, then {process.num_threads()}"
    )
    assert again <= GROWTH * first


def round_of(served: Served, pages: Pages) -> tuple[float, int]:
    """Open that many pages, close them, wait until their sessions are over; return MiB and threads with all of them."""
    for _ in range(SESSIONS):
        pages.open()
    assert sessions(served) == SESSIONS
    found = mib(served), psutil.Process(served.pid).num_threads()
    pages.close()
    assert wait_until(lambda: sessions(served) == 0, ENDED_S)
    return found


def test_a_browser_that_reads_no_more_is_disconnected(served: Served) -> None:
    place = urlsplit(served.address)
    assert place.hostname is not None and place.port is not None
    with socket.create_connection((place.hostname, place.port)) as stalled:
        key = base64.b64encode(os.urandom(16)).decode()
        words = [
            f"GET {PATH}/ws HTTP/1.1",
            f"Host: {place.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: bokeh, {token_of(served.address)}",
        ]
        stalled.sendall("\r\n".join([*words, "", ""]).encode())
        assert stalled.recv(12) == b"HTTP/1.1 101"
        mine = stalled.getsockname()[1]

        def held() -> bool:
            found = psutil.Process(served.pid).net_connections("tcp")
            return any(one.raddr and one.raddr.port == mine and one.status == "ESTABLISHED" for one in found)

        assert held()
        assert wait_until(lambda: not held(), 4 * PING_S), "what is sent to it is kept for ever"
