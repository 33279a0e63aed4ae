"""Webhooks and mail to servers of this machine, and where no webhook may go."""

import datetime as dt
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from streamlake_assets.alerts import chat
from streamlake_assets.alerts.addresses import open_socket, require_url
from streamlake_assets.alerts.mail import MailNotifier
from streamlake_assets.alerts.notifier import MOST_PROOF, NotDeliveredError, proof
from streamlake_assets.alerts.webhook import WebhookNotifier
from streamlake_assets.errors import UsageError
from streamlake_assets.market.alert_messages import Alert, compose
from streamlake_assets.settings import LOOPBACK
from streamlake_assets_tests.alert_targets import SECRET, MailTarget, WebTarget, mail_target, web_target

ALERT = Alert(7, "check", "raw/bars:ok", "raised", "error", "Failed: raw/bars:ok", "3 wrong", dt.datetime.now(dt.UTC))
MESSAGE = compose([ALERT])


@pytest.fixture
def web() -> Iterator[WebTarget]:
    with web_target() as target:
        yield target


@pytest.fixture
def mail() -> Iterator[MailTarget]:
    with mail_target() as target:
        yield target


def hook(web: WebTarget, **changes: Any) -> WebhookNotifier:
    return WebhookNotifier(**{"url": web.url, "secret": SECRET, "loopback": True, **changes})


def test_a_webhook_gets_a_signed_message_and_its_answer_is_the_proof_without_secrets(web: WebTarget) -> None:
    receipt = hook(web).send(MESSAGE)
    (got,) = web.got
    assert (got["v"], got["id"]) == (1, "alert-7")
    assert got["alerts"][0]["headline"] == "Failed: raw/bars:ok"
    assert receipt.response == "HTTP 200 OK said ***"


def test_a_receiver_with_another_secret_refuses(web: WebTarget) -> None:
    with pytest.raises(NotDeliveredError, match="HTTP 401"):
        hook(web, secret="another-secret-than-that").send(MESSAGE)
    assert web.got == []


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_only_an_answer_of_success_is_a_delivery(status: int, web: WebTarget) -> None:
    web.answer = lambda: (status, {})
    with pytest.raises(NotDeliveredError, match=f"HTTP {status}"):
        hook(web).send(MESSAGE)


def test_a_redirect_is_not_followed(web: WebTarget) -> None:
    with web_target() as inside:
        web.answer = lambda: (307, {"Location": inside.url})
        with pytest.raises(NotDeliveredError, match="a redirect is not followed"):
            hook(web).send(MESSAGE)
        assert inside.tried == 0


def test_one_that_answers_byte_by_byte_ends_at_the_deadline(web: WebTarget) -> None:
    web.drip = True
    with pytest.raises(NotDeliveredError):
        hook(web, timeout_s=0.3).send(MESSAGE)


def test_one_that_is_not_there_is_tried_again_later() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        notifier = WebhookNotifier(f"http://{LOOPBACK}:{taken.getsockname()[1]}/", SECRET, loopback=True)
        with pytest.raises(NotDeliveredError, match="Refused"):
            notifier.send(MESSAGE)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/x", "ftp://hooks.example.com/x", "file:///etc/passwd", "https://", "https:///x",
        "https://127.0.0.1/x", "https://localhost/x", "https://a.localhost./x", "https://[::1]/x", "https://0.0.0.0/",
        "https://10.1.2.3/x", "https://172.16.0.1/x", "https://192.168.1.1/x", "https://169.254.169.254/latest",
        "https://100.64.0.1/x", "https://[fe80::1]/x", "https://[fc00::1]/x", "https://[::ffff:10.0.0.1]/x",
        "https://[64:ff9b::7f00:1]/x", "https://[2002:7f00:1::]/x", "https://224.0.0.1/x", "https://2130706433/x",
        "https://0x7f000001/x", "https://127.1/x", "https://user:password@hooks.example.com/x",
        "https://hooks.example.com:99999/x", "https://hooks.example.com\\@10.0.0.1/x", "https://hööks.example.com/x",
    ],
)  # fmt: skip
def test_a_webhook_goes_over_https_to_public_hosts_alone(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        require_url(url, loopback=False)
    assert "password" not in str(refused.value) or "user or password" in str(refused.value)


def test_a_public_host_is_taken_and_this_machine_by_setting_alone() -> None:
    place = require_url("https://hooks.example.com:8443/a/b?c=d", loopback=False)
    assert place == (True, "hooks.example.com", 8443, "/a/b?c=d")
    assert require_url(f"http://{LOOPBACK}:9000/", loopback=True).secure is False
    with pytest.raises(UsageError, match="STREAMLAKE_ALERT_LOOPBACK"):
        require_url("https://localhost/", loopback=False)
    for still in ("https://10.0.0.1/", "http://hooks.example.com/", "https://169.254.169.254/"):
        with pytest.raises(UsageError):
            require_url(still, loopback=True)


@pytest.mark.parametrize("inside", ["10.0.0.7", "127.0.0.1", "169.254.169.254", "fd00::1"])
def test_a_public_name_that_resolves_to_a_private_address_is_refused_before_anything_is_opened(
    inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = socket.AF_INET6 if ":" in inside else socket.AF_INET
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443)),
        (family, socket.SOCK_STREAM, 6, "", (inside, 443)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("something was opened"))
    with pytest.raises(UsageError, match="not a public address"):
        open_socket("hooks.example.com", 443, loopback=False, timeout_s=1)
    with pytest.raises(NotDeliveredError, match=r"refused: hooks\.example\.com resolves to"):
        WebhookNotifier("https://hooks.example.com/x", SECRET).send(MESSAGE)


def post_office(mail: MailTarget, **changes: Any) -> MailNotifier:
    return MailNotifier(
        **{
            "host": LOOPBACK,
            "port": mail.port,
            "sender": "streamlake@example.com",
            "to": ["ops@example.com", "two@example.com"],
            "security": "none",
            **changes,
        }
    )


def test_a_mail_arrives_once_for_all_its_receivers_with_the_same_id_at_every_try(mail: MailTarget) -> None:
    receipt = post_office(mail).send(MESSAGE)
    post_office(mail).send(MESSAGE)
    one, again = mail.got
    assert one["Subject"] == "[streamlake] Failed: raw/bars:ok"
    assert one["To"] == "ops@example.com, two@example.com"
    assert "3 wrong" in one.get_content()
    assert one["Message-ID"] == again["Message-ID"]
    assert "2 receivers" in receipt.response


def test_a_mail_server_that_refuses_is_tried_again_later(mail: MailTarget) -> None:
    mail.code = b"451 not now"
    with pytest.raises(NotDeliveredError, match="451 not now"):
        post_office(mail).send(MESSAGE)
    assert mail.got == []


def test_one_receiver_that_is_unknown_keeps_the_mail_from_nobody_else(mail: MailTarget) -> None:
    mail.refuse = {"two@example.com"}
    assert "not for two@example.com" in post_office(mail).send(MESSAGE).response
    assert len(mail.got) == 1


def test_encryption_that_the_server_does_not_have_is_not_done_without(mail: MailTarget) -> None:
    for security in ("starttls", "tls"):
        with pytest.raises(NotDeliveredError):
            post_office(mail, security=security).send(MESSAGE)
    assert mail.got == []


def test_what_is_kept_of_an_answer_is_short_printable_and_without_secrets() -> None:
    kept = proof("token-1 \x1b[31m" + "x" * 500, ["token-1"])
    assert kept.startswith("*** ")
    assert kept.isprintable()
    assert len(kept) <= MOST_PROOF


def test_chat_services_have_no_host_of_their_own() -> None:
    import apprise

    found = {}
    for one in apprise.Apprise().details()["schemas"]:
        for scheme in {*(one.get("protocols") or ()), *(one.get("secure_protocols") or ())}:
            found[scheme] = "host" in one["details"]["tokens"]
    assert {scheme: found[scheme] for scheme in chat.SERVICES} == dict.fromkeys(chat.SERVICES, False)
    assert found["json"], "the test would see one"


@pytest.mark.parametrize("url", ["json://127.0.0.1", "mailto://user:pass@x", "file:///etc", "slack"])
def test_other_services_are_refused_without_showing_the_url(url: str) -> None:
    with pytest.raises(UsageError, match="must begin with one of") as refused:
        chat.ChatNotifier(url)
    assert "127.0.0.1" not in str(refused.value)


def test_a_service_that_says_no_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = chat.ChatNotifier("tgram://123456789:abcdefg_hijklmnop/12315544/")
    sent = []
    answers = iter([False, True])
    monkeypatch.setattr(notifier._service, "notify", lambda **told: sent.append(told) or next(answers))
    with pytest.raises(NotDeliveredError, match="tgram did not take it"):
        notifier.send(MESSAGE)
    assert notifier.send(MESSAGE).response == "taken by tgram"
    assert sent[0]["title"] == MESSAGE.headline
