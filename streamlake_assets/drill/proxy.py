"""A TCP proxy on 127.0.0.1 that can take a server away, slow it down, silence it, and lose the answer to a COMMIT.

Belongs here: the network faults of a drill. Stays out: which server is behind it and what is made of its absence.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from streamlake_assets.settings import LOOPBACK

_COMMIT = b"\x03COMMIT"
"""The command byte of a query and its text, as the MySQL protocol sends it."""


class Proxy:
    """Forwards connections to a port while it is up; use as a context manager, or ``open`` and ``close``.

    Attributes:
        port: where it listens.
        delay_s: how long each piece of data is held back, in each direction.
        lost_commits: COMMITs whose answer was lost.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._up = True
        self._open_road = threading.Event()
        self._open_road.set()
        self._lose_commit = threading.Event()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.delay_s = 0.0
        self.lost_commits = 0
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Begin to accept connections."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def close(self) -> None:
        """Accept no more and cut everything."""
        self._closed.set()
        _close(self._listener)
        self.cut()
        self._open_road.set()

    def cut(self) -> None:
        """Close every connection and every new one, until ``restore``."""
        with self._lock:
            self._up = False
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _close(*pair)

    def silence(self) -> None:
        """Keep connections open, accept new ones, and let nothing through until ``restore``: a half-open peer."""
        self._open_road.clear()

    def restore(self) -> None:
        """Let connections and data through again."""
        with self._lock:
            self._up = True
        self._open_road.set()

    def lose_next_commit(self) -> None:
        """Forward the next COMMIT, and cut its connection instead of forwarding the answer."""
        self._lose_commit.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                server = self._connect() if self._up else None
                if server is None:
                    _close(client)
                    continue
                self._pairs.add((client, server))
            doomed = threading.Event()
            threading.Thread(target=self._pump, args=(client, server, doomed, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, doomed, False), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        try:
            return socket.create_connection((LOOPBACK, self._target))
        except OSError:
            return None  # the server itself is away, and so is the proxy

    def _pump(self, source: socket.socket, sink: socket.socket, doomed: threading.Event, from_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open_road.wait()
                if self.delay_s:
                    self._closed.wait(self.delay_s)
                if from_client and _COMMIT in data and self._lose_commit.is_set():
                    self._lose_commit.clear()
                    doomed.set()
                elif not from_client and doomed.is_set():
                    # the server has answered: it is committed, and nobody will know
                    self.lost_commits += 1
                    break
                sink.sendall(data)
        _close(source, sink)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
