"""Many pages that come and go, and a browser that does not read any more: the page's process gets its memory back.

Fault row 37.
"""

import asyncio
import base64
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from panel_app.serving import PATH, PING_S
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets_tests.browser.viewing import Served, served_page
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.panel.page_data import daily, migrate, publish, store_topic

pytestmark = [pytest.mark.servers, pytest.mark.browser, pytest.mark.slow]
Connected = TypeVar("Connected")
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


class Pages:
    """Pages as a browser opens them, without the browser: address, websocket, whole document; then all is read."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open: list[WebSocketClientConnection] = []

    def open(self, number: int) -> None:
        for _ in range(number):
            self._open.append(self._run(self._connect(token_of(self._served))))

    def close(self) -> None:
        async def disconnect() -> None:
            for one in self._open:
                one.close()

        self._run(disconnect())
        self._open.clear()

    def end(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Connected]) -> Connected:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _connect(self, token: str) -> WebSocketClientConnection:
        address = f"{self._served.address.replace('http', 'ws', 1)}{PATH}/ws"
        found = await websocket_connect(address, subprotocols=["bokeh", token])
        await self._read_until(found, "ACK")
        for part in ('{"msgid":"1","msgtype":"PULL-DOC-REQ"}', "{}", "{}"):
            await found.write_message(part)
        await self._read_until(found, "PULL-DOC-REPLY")
        self._loop.create_task(self._read(found))
        return found

    async def _read_until(self, connection: WebSocketClientConnection, kind: str) -> None:
        while (part := await connection.read_message()) is not None:
            if isinstance(part, str) and f'"{kind}"' in part:
                return
        raise AssertionError(f"closed before {kind} came")

    async def _read(self, connection: WebSocketClientConnection) -> None:
        while await connection.read_message() is not None:
            pass


def token_of(served: Served) -> str:
    """Open the page's address, which makes a session, and return its token."""
    with urllib.request.urlopen(f"{served.address}{PATH}", timeout=60) as answer:  # noqa: S310  # our own address
        found = re.search(r'"token":"([^"]+)"', answer.read().decode())
    assert found is not None
    return found[1]


@pytest.fixture
def pages(served: Served) -> Iterator[Pages]:
    found = Pages(served)
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
    pages.open(WARM)
    pages.close()
    ended(served)
    before, threads = mib(served), process.num_threads()
    pages.open(SESSIONS)
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
            f"Sec-WebSocket-Protocol: bokeh, {token_of(served)}",
        ]
        stalled.sendall("\r\n".join([*words, "", ""]).encode())
        assert stalled.recv(12) == b"HTTP/1.1 101"
        mine = stalled.getsockname()[1]

        def held() -> bool:
            found = psutil.Process(served.pid).net_connections("tcp")
            return any(one.raddr and one.raddr.port == mine and one.status == "ESTABLISHED" for one in found)

        assert held()
        assert wait_until(lambda: not held(), 4 * PING_S), "what is sent to it is kept for ever"
