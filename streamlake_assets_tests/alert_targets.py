"""Targets of alerts on this machine: a web server and a mail server that keep what they got and fail when told to."""

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streamlake_assets.market.alert_messages import verify
from streamlake_assets.settings import LOOPBACK

SECRET = "a-secret-of-the-webhook"
WEB_TARGET = """targets:
  - name: web
    kind: webhook
    url: {url}
    secret: env:HOOK_SECRET
    storm: {{messages: 50}}
"""
"""The head of a rule file with one target, in which nothing is folded into a digest."""
TARGETS = (
    WEB_TARGET
    + """  - name: mail
    kind: mail
    host: 127.0.0.1
    port: {port}
    security: none
    sender: streamlake@example.com
    to: [ops@example.com]
    storm: {{messages: 50}}
"""
)
"""The same with both."""


class WebTarget:
    """A web server: ``answer`` gives status and headers of each answer."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.refused = 0
        self.tried = 0
        self.answer: Callable[[], tuple[int, dict[str, str]]] = lambda: (200, {})
        self.drip = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hooks/token-in-path"

    @property
    def headlines(self) -> list[str]:
        return [alert["headline"] for body in self.got for alert in body["alerts"]]


class MailTarget:
    """A mail server: ``code`` is what it answers to the mail itself."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.code = b"250 taken"
        self.refuse: set[str] = set()
        self.port = 0

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.got]


@contextmanager
def web_target() -> Iterator[WebTarget]:
    """Run a web server on loopback."""
    target = WebTarget()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            target.tried += 1
            if target.drip:
                self._drip()
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stamp, signature = self.headers["X-Streamlake-Timestamp"], self.headers["X-Streamlake-Signature"]
            status, headers = target.answer()
            if not verify(SECRET, stamp, body, signature, time.time()):
                status, headers = 401, {}
            if status == 200:
                target.got.append(json.loads(body))
            else:
                target.refused += 1
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(f"said {SECRET}".encode())

        def _drip(self) -> None:
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"H")
                    time.sleep(0.02)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    target.port = server.server_port
    with _served(server):
        yield target


@contextmanager
def mail_target() -> Iterator[MailTarget]:
    """Run a mail server on loopback that speaks as much SMTP as a client needs."""
    target = MailTarget()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):
                self._speak()

        def _speak(self) -> None:
            self._say(b"220 ready")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"RCPT" and any(one in line.decode() for one in target.refuse):
                    self._say(b"550 unknown")
                elif verb == b"DATA":
                    self._say(b"354 go on")
                    lines = []
                    while (part := self.rfile.readline()) != b".\r\n":
                        lines.append(part.removeprefix(b"."))
                    if target.code.startswith(b"250"):
                        mail = message_from_bytes(b"".join(lines), policy=policy.default)
                        assert isinstance(mail, EmailMessage)
                        target.got.append(mail)
                    self._say(target.code)
                elif verb == b"QUIT":
                    self._say(b"221 bye")
                    return
                else:
                    self._say(b"250 ok")

        def _say(self, line: bytes) -> None:
            self.wfile.write(line + b"\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server((LOOPBACK, 0), Handler)
    target.port = server.server_address[1]
    with _served(server):
        yield target


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
