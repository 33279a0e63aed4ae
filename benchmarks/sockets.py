"""Pages as a browser opens them, without the browser: address, websocket, whole document; then all is read.

Belongs here: the messages of such a page and when they came. Stays out: what is expected of them (tests, cases), pages
in Chromium (``viewing``).
"""

import asyncio
import re
import threading
import time
import urllib.request
from collections.abc import Coroutine
from typing import Any, TypeVar

from tornado.websocket import WebSocketClientConnection, websocket_connect

from panel_app.serving import PATH
from streamlake_assets.errors import StreamlakeError

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


_PROBE = re.compile(r'"name":"Range1d","id":"([^"]+)","attributes":\{"name":"probe"')
_SENT = re.compile(r'"model":\{"id":"([^"]+)"\},"attr":"start","new":(\d+)')


def _drawn(probe: str, frames: str) -> tuple[str, ...]:
    """That so many frames are drawn: the page sends no more of them before a browser says so."""
    event = f'{{"kind":"ModelChanged","model":{{"id":"{probe}"}},"attr":"end","new":{frames}}}'
    return ('{"msgid":"3","msgtype":"PATCH-DOC"}', "{}", f'{{"events":[{event}]}}')


class OpenPage:
    """One open page; what the server sends to it is read at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: WebSocketClientConnection) -> None:
        self._loop = loop
        self._connection = connection
        self.document = ""
        self.draws = True
        """Whether it says of what it was sent that it is drawn, as a browser does that is not busy."""
        self._probe = self._frames = ""
        self._heard: list[tuple[float, str]] = []
        self._news = threading.Condition()

    async def fetch(self) -> None:
        """Fetch the document; from then on everything that comes is read."""
        await self._until('"ACK"')
        await self._send(_FETCH)
        await self._until('"PULL-DOC-REPLY"')
        await self._until("{}")
        self.document = await self._until("roots")
        found = _PROBE.search(self.document)
        if found is None:
            raise StreamlakeError("the page has no probe that says what was drawn")
        self._probe = found[1]
        self._loop.create_task(self._read())

    def say_drawn(self) -> None:
        """Say what a browser says when all is drawn; from then on the server changes the page."""
        asyncio.run_coroutine_threadsafe(self._send(_READY), self._loop).result(WAIT_S)

    def draw(self) -> None:
        """Say that all that was sent is drawn, and from now on at once."""
        self.draws = True
        asyncio.run_coroutine_threadsafe(self._send(_drawn(self._probe, self._frames)), self._loop).result(WAIT_S)

    def hears(self, word: str) -> bool:
        """Whether a message with this word comes, or came since the document was fetched."""
        with self._news:
            return self._news.wait_for(lambda: any(word in one for _, one in self._heard), WAIT_S)

    def heard(self) -> list[tuple[float, str]]:
        """Return what came since the document was fetched, each with its time by the machine's clock in ms."""
        with self._news:
            return list(self._heard)

    async def close(self) -> None:
        """Close the socket."""
        self._connection.close()

    async def _send(self, parts: tuple[str, ...]) -> None:
        for part in parts:
            await self._connection.write_message(part)

    async def _until(self, word: str) -> str:
        while (part := await self._connection.read_message()) is not None:
            if isinstance(part, str) and word in part:
                return part
        raise StreamlakeError(f"the page was closed before {word} came")

    async def _read(self) -> None:
        while (part := await self._connection.read_message()) is not None:
            at = 1000 * time.time()
            with self._news:
                self._heard.append((at, str(part)))
                self._news.notify_all()
            for model, frames in _SENT.findall(str(part)):
                if model == self._probe:
                    self._frames = frames
                    if self.draws:
                        await self._send(_drawn(model, frames))


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
        """Close all pages and the thread."""
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
    if found is None:
        raise StreamlakeError(f"{address}{PATH} answered without a session")
    return found[1]
