"""Chat and paging services, by apprise: only those whose host is fixed, so that no URL leads anywhere else.

Belongs here: the list of services, sending by one of them. Stays out: targets with a host of their own (``webhook``,
``mail``).
"""

import logging
from typing import Final

from streamlake_assets.alerts.notifier import TIMEOUT_S, NotDeliveredError, Receipt
from streamlake_assets.errors import UsageError
from streamlake_assets.market.alert_messages import Message

SERVICES: Final = ("discord", "opsgenie", "pagerduty", "pbul", "pover", "slack", "tgram")
"""Schemes of apprise that take no host; a test looks at their templates."""


class ChatNotifier:
    """Sends by one service of apprise."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        import apprise

        require_service(url)
        logging.getLogger("apprise").disabled = True  # it would log answers, and URLs in them
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is None:
            raise UsageError("apprise does not know what to do with this URL")
        service.socket_connect_timeout = service.socket_read_timeout = timeout_s
        self._service = service
        self._name = url.partition("://")[0].lower()

    def send(self, message: Message) -> Receipt:
        """Send a message; apprise says yes or no, and no more.

        Raises:
            NotDeliveredError: it said no.
        """
        if not self._service.notify(title=message.headline, body=message.text):
            raise NotDeliveredError(f"{self._name} did not take it")
        return Receipt(f"taken by {self._name}")


def require_service(url: str) -> None:
    """Check that a URL names one of the services.

    Raises:
        UsageError: it does not; the message never holds the URL, which has a token in it.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in SERVICES:
        raise UsageError(f"its URL must begin with one of {', '.join(f'{name}://' for name in SERVICES)}")
