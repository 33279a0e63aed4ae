"""E-mail by SMTP: one message to all its receivers.

Belongs here: connection, encryption, login, the form of a mail. Stays out: its words (``market.alert_messages``).
"""

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Literal

from streamlake_assets.alerts.notifier import TIMEOUT_S, NotDeliveredError, Receipt, proof
from streamlake_assets.market.alert_messages import Message

Security = Literal["starttls", "tls", "none"]


class MailNotifier:
    """Sends through one SMTP server."""

    def __init__(
        self,
        host: str,
        port: int,
        sender: str,
        to: Sequence[str],
        security: Security = "starttls",
        login: tuple[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._host, self._port, self._security = host, port, security
        self._sender, self._to = sender, tuple(to)
        self._login = login
        self._timeout_s = timeout_s

    def send(self, message: Message) -> Receipt:
        """Send a mail; the server took it for every receiver, or it is tried again for all.

        Raises:
            NotDeliveredError: the server is away, refuses the login, or refuses a receiver.
        """
        try:
            with self._connect() as server:
                if self._login is not None:
                    server.login(*self._login)
                refused = server.send_message(self.mail(message))
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotDeliveredError(f"{type(error).__name__}: {self._clean(_words(error))}") from None
        if refused:
            # sending again would repeat it to those who have it
            return Receipt(self._clean(f"taken, but not for {', '.join(sorted(refused))}"))
        return Receipt(f"taken by {self._host} for {len(self._to)} receivers")

    def mail(self, message: Message) -> EmailMessage:
        """Return a message as a mail; its Message-ID is the same at every try."""
        mail = EmailMessage()
        mail["Subject"] = message.headline
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._to)
        mail["Date"] = format_datetime(message.alerts[-1].at)
        mail["Message-ID"] = f"<{message.id}@{make_msgid().rpartition('@')[2]}"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail

    def _connect(self) -> smtplib.SMTP:
        if self._security == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=context)
        server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        if self._security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server

    def _clean(self, text: str) -> str:
        return proof(text, () if self._login is None else self._login)


def _words(error: Exception) -> str:
    said = getattr(error, "smtp_error", None)
    if isinstance(said, bytes):
        return f"{getattr(error, 'smtp_code', '')} {said.decode('utf-8', 'replace')}"
    return str(error)
