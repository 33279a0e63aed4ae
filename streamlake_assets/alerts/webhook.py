"""The signed webhook: one POST of JSON, no redirect, a deadline for the whole of it.

Belongs here: request, deadline, receipt. Stays out: where it may go (``addresses``), its form and signature
(``market.alert_messages``).
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from streamlake_assets.alerts.addresses import Place, open_socket, require_url
from streamlake_assets.alerts.notifier import TIMEOUT_S, NotDeliveredError, Receipt, proof
from streamlake_assets.errors import UsageError
from streamlake_assets.market.alert_messages import Message, sign

MOST_ANSWER: Final = 4_096
"""Bytes of an answer that are read."""


class WebhookNotifier:
    """Posts to one URL."""

    def __init__(
        self,
        url: str,
        secret: str,
        loopback: bool = False,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._place = require_url(url, loopback)
        self._secret = secret
        self._loopback = loopback
        self._timeout_s = timeout_s
        self._clock = clock

    def send(self, message: Message) -> Receipt:
        """Post a message; only an answer from 200 to 299 is a receipt.

        Raises:
            NotDeliveredError: anything else, a silence of more than the timeout included.
        """
        body = message.body()
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "streamlake",
            "X-Streamlake-Id": message.id,
            "X-Streamlake-Timestamp": timestamp,
            "X-Streamlake-Signature": sign(self._secret, timestamp, body),
        }
        try:
            status, reason, answer = _post(self._place, headers, body, self._loopback, self._timeout_s)
        except UsageError as error:
            raise NotDeliveredError(f"refused: {error}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotDeliveredError(f"{type(error).__name__}: {self._clean(str(error))}") from None
        said = self._clean(f"HTTP {status} {reason} {answer.decode('utf-8', 'replace')}")
        if 200 <= status < 300:
            return Receipt(said)
        raise NotDeliveredError(f"{said} (a redirect is not followed)" if 300 <= status < 400 else said)

    def _clean(self, text: str) -> str:
        return proof(text, (self._secret, *(part for part in self._place.path.split("/") if len(part) > 7)))


def _post(
    place: Place, headers: dict[str, str], body: bytes, loopback: bool, timeout_s: float
) -> tuple[int, str, bytes]:
    opened = open_socket(place.host, place.port, loopback, timeout_s)
    # a target that answers byte by byte never times out by itself
    deadline = threading.Timer(timeout_s, _shut, [opened])
    deadline.daemon = True
    deadline.start()
    try:
        if place.secure:
            opened = ssl.create_default_context().wrap_socket(opened, server_hostname=place.host)
            deadline.args = [opened]
        connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout_s)
        connection.sock = opened
        connection.request("POST", place.path, body=body, headers={**headers, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.read(MOST_ANSWER)
    finally:
        deadline.cancel()
        opened.close()


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
