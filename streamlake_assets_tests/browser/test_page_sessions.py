"""Many pages that come and go, and a browser that does not read any more: the page's process gets its memory back.

Fault row 37.
"""

import base64
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from panel_app.serving import PATH, PING_S
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets_tests.browser.sockets import Pages, token_of
from streamlake_assets_tests.browser.viewing import Served, served_page
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.panel.page_data import daily, migrate, publish, store_topic

pytestmark = [pytest.mark.servers, pytest.mark.browser, pytest.mark.slow]
SESSIONS = 50
WARM = 10
GROWTH = 1.10
SETTLED_S = 90.0


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
    with served_page(settings, tmp_path_factory.mktemp("page") / "page.log") as found:
        yield found


@pytest.fixture
def pages(served: Served) -> Iterator[Pages]:
    found = Pages(served.address)
    yield found
    found.end()


def connections(served: Served) -> int:
    port = urlsplit(served.address).port
    found = psutil.Process(served.pid).net_connections("tcp")
    return len([one for one in found if one.status == "ESTABLISHED" and one.laddr.port == port])


def ended(served: Served) -> None:
    """Wait until no session is left."""
    assert wait_until(lambda: connections(served) == 0, SETTLED_S)


def mib(served: Served) -> float:
    return psutil.Process(served.pid).memory_info().rss / 2**20


def test_fifty_pages_come_and_go_and_memory_and_threads_return(served: Served, pages: Pages) -> None:
    process = psutil.Process(served.pid)
    for _ in range(WARM):
        pages.open()
    pages.close()
    ended(served)
    before, threads = mib(served), process.num_threads()
    for _ in range(SESSIONS):
        pages.open()
    at_most = mib(served)
    assert connections(served) == SESSIONS
    pages.close()
    ended(served)
    assert wait_until(lambda: mib(served) <= GROWTH * before, SETTLED_S), (before, at_most, mib(served))
    assert wait_until(lambda: process.num_threads() <= threads, SETTLED_S), (threads, process.num_threads())
    print_line(
        f"{before:.0f} MiB before, {at_most:.0f} MiB with {SESSIONS} pages, {mib(served):.0f} MiB after; "
        f"{threads} threads before, {process.num_threads()} after"
    )


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
