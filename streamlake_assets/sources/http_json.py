"""A provider's JSON API over HTTP: calls counted, errors told apart, retried where that helps, the key never in sight.

Belongs here: what all providers share. Stays out: paths, shapes and errors that come as HTTP 200 (``massive``,
``alpha_vantage``), where calls are counted (``stores.provider_quota``).

The key travels in a header or a parameter and is cut out of every message, also where the provider echoes it. Redirects
are not followed, and an address of another host is never called: both would carry the key away.
"""

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import stamina

from streamlake_assets.errors import BadRecordError, SettingError, TryLaterError, UsageError

ATTEMPTS: Final = 4
TIMEOUT_S: Final = 20.0
WAIT_S: Final = (0.5, 8.0)
"""First and longest wait before another attempt."""
LONGEST_PATIENCE_S: Final = 65.0
"""Longest wait that a provider may ask for: the rest of a minute."""
LIMIT_WAIT_S: Final = 60.0
"""Wait after too many calls when the provider does not say how long."""
_HIDDEN: Final = "[key]"
_LONGEST_MESSAGE: Final = 400
_REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


OnReject = Callable[[BadRecordError], None]
"""Gets each bar of an answer that breaks the contract."""


class Quota(Protocol):
    """Calls that a provider allows; shared by all processes that use one key."""

    def take(self) -> float:
        """Count one call; return the seconds to wait before it.

        Raises:
            TryLaterError: the calls of the day are used up; the message says until when.
        """


class TransientError(TryLaterError):
    """The provider did not answer as it should: the same call may succeed; ``after_s`` is what it asked to wait."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class JsonApi:
    """Calls one API; use as a context manager."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        key: str,
        quota: Quota,
        *,
        key_setting: str,
        bearer: bool,
        timeout_s: float = TIMEOUT_S,
        waits_s: tuple[float, float] = WAIT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make a client; nothing is called yet.

        Args:
            provider: its name in messages.
            base_url: scheme and host, maybe with a path.
            key: of the account.
            quota: counts the calls.
            key_setting: name of the setting that holds the key.
            bearer: the key goes into the Authorization header, else into the parameter ``apikey``.
            timeout_s: for connecting, and between two pieces of an answer.
            waits_s: first and longest wait before another attempt.
            sleep: waits for the quota.

        Raises:
            SettingError: there is no key, or it holds what a header cannot.
        """
        # a secret that is a file often ends in a new line
        key = key.strip()
        if not key:
            raise SettingError(f"{provider} needs a key: set {key_setting}")
        if not (key.isascii() and key.isprintable()):
            raise SettingError(f"the key in {key_setting} holds signs that no key has")
        # they log addresses and headers, and with them the key
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.provider = provider
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._quota = quota
        self._key_setting = key_setting
        self._parameters = {} if bearer else {"apikey": key}
        self._waits_s = waits_s
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {key}"} if bearer else {}
        self._client = httpx.Client(headers=headers, timeout=timeout_s, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, address: str, parameters: Mapping[str, str | int], judge: Callable[[int, Any], None]) -> bytes:
        """Return the body of one answer that is JSON and that ``judge`` lets pass.

        Args:
            address: a path under the base URL, or a whole address on its host, as a provider gives for the next page.
            parameters: added to the address.
            judge: gets the status and the decoded body; raises what the provider says in its own way.

        Raises:
            SettingError: the key is refused, or the plan does not include this.
            UsageError: what is asked for does not exist.
            TryLaterError: limits, outages, answers that are no data, after all attempts.
        """
        url = address if "://" in address else f"{self._base_url}{address}"
        if urlsplit(url)[:2] != urlsplit(self._base_url)[:2]:
            raise TryLaterError(f"{self.provider} points to another host, which is not called: {self.hide(url)}")
        first_s, longest_s = self._waits_s
        for attempt in stamina.retry_context(
            on=_worth_another,
            attempts=ATTEMPTS,
            timeout=None,
            wait_initial=first_s,
            wait_max=longest_s,
            wait_jitter=0.1,
        ):
            with attempt:
                return self._once(url, parameters, judge)
        raise AssertionError("stamina returns or raises")

    def hide(self, text: str) -> str:
        """Return a text without the key, and only then cut: what is left of a cut key would not be found."""
        hidden = text.replace(self._key, _HIDDEN).replace(quote(self._key, safe=""), _HIDDEN)
        return hidden if len(hidden) <= _LONGEST_MESSAGE else f"{hidden[:_LONGEST_MESSAGE]}…"

    def _once(self, url: str, parameters: Mapping[str, str | int], judge: Callable[[int, Any], None]) -> bytes:
        wait_s = self._quota.take()
        if wait_s > 0:
            self._sleep(wait_s)
        answer = self._answer(url, parameters)
        if isinstance(answer, httpx.Response):
            error = self._refusal(answer, judge)
            if error is None:
                return answer.content
        else:
            error = answer
        # raised here and not where it was caught: an error keeps the one it was made of, with the key in it
        raise error

    def _answer(self, url: str, parameters: Mapping[str, str | int]) -> httpx.Response | TransientError:
        every = {**dict(httpx.URL(url).params), **parameters, **self._parameters}
        try:
            return self._client.get(url, params=every)
        except httpx.TimeoutException as error:
            return TransientError(f"{self.provider} did not answer in time ({type(error).__name__})")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return TransientError(self.hide(f"{self.provider} is not reached: {error}"))

    def _refusal(self, answer: httpx.Response, judge: Callable[[int, Any], None]) -> UsageError | TryLaterError | None:
        body = self._decoded(answer)
        try:
            if body is not None:
                judge(answer.status_code, body)
            self._check_status(answer, body)
        except TransientError as error:
            return TransientError(self.hide(str(error)), error.after_s or _asked_wait(answer))
        except (UsageError, TryLaterError) as error:
            return type(error)(self.hide(str(error)))
        return None

    def _decoded(self, answer: httpx.Response) -> Any:
        try:
            return msgspec.json.decode(answer.content)
        except _REFUSALS:
            return None

    def _check_status(self, answer: httpx.Response, body: Any) -> None:
        status = answer.status_code
        said = _words(body)
        if status == httpx.codes.UNAUTHORIZED:
            raise SettingError(f"{self.provider} refuses the key in {self._key_setting}{said}")
        if status == httpx.codes.FORBIDDEN:
            raise SettingError(f"the plan of the key in {self._key_setting} does not include this{said}")
        if status == httpx.codes.NOT_FOUND:
            raise UsageError(f"{self.provider} does not know this{said}")
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise TransientError(f"{self.provider}: too many calls{said}", _asked_wait(answer) or LIMIT_WAIT_S)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise TransientError(f"{self.provider} fails with HTTP {status}{said}")
        if status != httpx.codes.OK:
            raise UsageError(f"{self.provider} refuses the request with HTTP {status}{said}")
        if body is None:
            kind = answer.headers.get("content-type", "no content type")
            raise TransientError(f"{self.provider} sent no JSON but {kind}: is a proxy or a login page in between?")


def _worth_another(error: Exception) -> bool | float:
    if not isinstance(error, TransientError):
        return False
    if error.after_s is None:
        return True
    return error.after_s if error.after_s <= LONGEST_PATIENCE_S else False


def _asked_wait(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def _words(body: Any) -> str:
    """Return what an error's body says, short."""
    if not isinstance(body, dict):
        return ""
    text = next((str(body[name]) for name in ("error", "message", "Error Message") if body.get(name)), "")
    return f": {text}" if text else ""
