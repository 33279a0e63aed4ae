"""Pages as a browser opens them, without the browser: address, websocket, whole document; then all is read.

Belongs here: the messages of such a page. Stays out: what is expected of them (the tests), pages in Chromium
(``viewing``).
"""

import asyncio
import re
import threading
import urllib.request
from collections.abc import Coroutine
from typing import Any, TypeVar

from tornado.websocket import WebSocketClientConnection, websocket_connect

from panel_app.serving import PATH

Result = TypeVar("Result")
WAIT_S = 60
_FETCH = ('{"msgid":"1","msgtype":"PULL-DOC-REQ"}', "{}", "{}")
_READY = (
    '{"msgid":"2","msgtype":"PATCH-DOC"}',
    "{}",
    '{"events":[{"kind":"MessageSent","msg_type":"bokeh_event","msg_data":'
    '{"type":"event","name":"document_ready","values":{"type":"map"}}}]}',
)
"""That everything is drawn, as a browser says it."""


class OpenPage:
    """One open page; what the server sends to it is read at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: WebSocketClientConnection) -> None:
        self._loop = loop
        self._connection = connection
        self.document = ""
        self._heard: list[str] = []
        self._news = threading.Condition()

    async def fetch(self) -> None:
        await self._until('"ACK"')
        await self._send(_FETCH)
        await self._until('"PULL-DOC-REPLY"')
        await self._until("{}")
        self.document = await self._until("roots")
        self._loop.create_task(self._read())

    def say_drawn(self) -> None:
        asyncio.run_coroutine_threadsafe(self._send(_READY), self._loop).result(WAIT_S)

    def hears(self, word: str) -> bool:
        """Whether a message with this word comes, or came since the document was fetched."""
        with self._news:
            return self._news.wait_for(lambda: any(word in one for one in self._heard), WAIT_S)

    async def close(self) -> None:
        self._connection.close()

    async def _send(self, parts: tuple[str, ...]) -> None:
        for part in parts:
            await self._connection.write_message(part)

    async def _until(self, word: str) -> str:
        while (part := await self._connection.read_message()) is not None:
            if isinstance(part, str) and word in part:
                return part
        raise AssertionError(f"closed before {word} came")

    async def _read(self) -> None:
        while (part := await self._connection.read_message()) is not None:
            with self._news:
                self._heard.append(str(part))
                self._news.notify_all()


class Pages:
    """Opens and closes pages of one server process; its thread answers what the server asks meanwhile."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open: list[OpenPage] = []

    def open(self, query: str = "", drawn: bool = True) -> OpenPage:
        """Open a page and fetch its document; ``drawn``: say that it is drawn."""
        one = self._run(self._connect(token_of(self._address, query)))
        self._open.append(one)
        if drawn:
            one.say_drawn()
        return one

    def close(self) -> None:
        """Close all pages."""
        for one in self._open:
            self._run(one.close())
        self._open.clear()

    def end(self) -> None:
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    async def _connect(self, token: str) -> OpenPage:
        address = f"{self._address.replace('http', 'ws', 1)}{PATH}/ws"
        page = OpenPage(self._loop, await websocket_connect(address, subprotocols=["bokeh", token]))
        await page.fetch()
        return page


def token_of(address: str, query: str = "") -> str:
    """Open the page's address, which makes a session, and return its token."""
    with urllib.request.urlopen(f"{address}{PATH}{query}", timeout=WAIT_S) as answer:  # noqa: S310  # ours
        found = re.search(r'"token":"([^"]+)"', answer.read().decode())
    assert found is not None
    return found[1]
