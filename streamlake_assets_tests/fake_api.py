"""A provider's API on this machine: real HTTP, answers by script, what was asked is kept."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

KEY = "secret+key/42"


class Asked(NamedTuple):
    """One request as it came."""

    path: str
    parameters: dict[str, str]
    authorization: str


class Answer(NamedTuple):
    """What is sent back; ``wait_s`` before it, ``hang_up`` instead of it."""

    status: int = 200
    body: object = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    wait_s: float = 0.0
    hang_up: bool = False

    def encoded(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else msgspec.json.encode(self.body)


Script = Callable[[Asked], Answer]


class FakeApi:
    """The server; ``script`` answers, ``asked`` grows."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: Script = lambda _: Answer()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                split = urlsplit(self.path)
                parameters = {name: values[0] for name, values in parse_qs(split.query).items()}
                asked = Asked(split.path, parameters, self.headers.get("authorization", ""))
                fake.asked.append(asked)
                answer = fake.script(asked)
                time.sleep(answer.wait_s)
                if answer.hang_up:
                    return
                body = answer.encoded()
                self.send_response(answer.status)
                self.send_header("content-type", answer.content_type)
                self.send_header("content-length", str(len(body)))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answers(self, *answers: Answer) -> None:
        """Answer one after the other; the last one again and again."""
        left = list(answers)
        self.script = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


@contextmanager
def fake_api() -> Iterator[FakeApi]:
    """Run a fake API."""
    fake = FakeApi()
    try:
        yield fake
    finally:
        fake.close()
