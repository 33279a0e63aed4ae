"""The rule file: YAML in, rules and ready targets out; whatever is wrong is told with its line and reason, all at once.

Belongs here: decoding and judging a file, reading the secrets it refers to, making its notifiers. Stays out: what rules
mean (``market.alert_rules``), lines of YAML (``yaml_lines``).
"""

import re
from collections.abc import Callable, Collection, Mapping
from email.utils import parseaddr
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from streamlake_assets.alerts.addresses import require_url
from streamlake_assets.alerts.chat import ChatNotifier, require_service
from streamlake_assets.alerts.mail import MailNotifier
from streamlake_assets.alerts.notifier import Notifier
from streamlake_assets.alerts.webhook import WebhookNotifier
from streamlake_assets.alerts.yaml_lines import Document, Place, Problem, read_yaml
from streamlake_assets.errors import UsageError
from streamlake_assets.market.alert_rules import (
    DURATION,
    HEARTBEATS,
    REFERENCE,
    WATCHED_ELSEWHERE,
    Chat,
    Duration,
    Mail,
    Rule,
    Rules,
    Target,
    Webhook,
)
from streamlake_assets.market.alerts import NAME, Kind, Name, Severity
from streamlake_assets.market.targets import Target as ForecastTarget
from streamlake_assets.market.thresholds import Threshold
from streamlake_assets.market.types import Interval

LOCAL_MAIL: Final = ("127.0.0.1", "::1", "localhost")
LEAST_SECRET: Final = 16
"""Characters that a webhook's secret has at least."""
_PARTS: Final = ("targets", "rules", "heartbeats", "thresholds")
_AT: Final = re.compile(r" - at `(?:key in )?\$([^`]*)`\Z")
_ENUMS: Final[Mapping[str | int, type[StrEnum]]] = {
    "on": Kind,
    "severity": Severity,
    "interval": Interval,
    "target": ForecastTarget,
}
_TAGS: Final[Mapping[str | int, str]] = {"targets": "webhook, mail, chat", "thresholds": "price, volatility, forecast"}
_UNKNOWN: Final = re.compile(r"Object contains unknown field `([^`]*)`")

_WORDS: Final = {
    f"Expected `str` matching regex {pattern!r}": words
    for pattern, words in {
        NAME: "expected a name of small letters, digits, - and _",
        DURATION: "expected a whole number and s, m, h or d, such as 60s",
        REFERENCE: "a secret stands elsewhere: say file:PATH or env:NAME",
    }.items()
}


class LoadedRules(NamedTuple):
    """A rule file that can be used."""

    rules: Rules
    notifiers: dict[str, Notifier]


class RuleFileError(UsageError):
    """A rule file that is refused; ``problems`` has the line and the reason of everything that is wrong with it."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__(f"{path}: " + "; ".join(f"line {line}: {reason}" for line, reason in self.problems))


def load_rules(
    path: Path | None,
    environ: Mapping[str, str],
    loopback: bool = False,
    checks: Collection[str] | None = None,
) -> LoadedRules:
    """Read a rule file and make its targets.

    Args:
        path: of the file; None: no target and no rule, heartbeats as by default.
        environ: variables that ``env:`` refers to.
        loopback: whether targets on this machine are allowed.
        checks: all checks there are, as ``asset/key:check_name``; None: names are not looked up.

    Raises:
        RuleFileError: anything is wrong with it.
        UsageError: it cannot be read.
    """
    if path is None:
        return LoadedRules(Rules(), {})
    try:
        document = read_yaml(path.read_bytes())
    except OSError as error:
        raise UsageError(f"STREAMLAKE_ALERT_RULES names {path}: {error.strerror}") from None
    reader = _Loader(path, document, environ, loopback)
    rules = reader.decode()
    if rules is not None:
        reader.judge(rules, checks)
    if reader.problems or rules is None:
        raise RuleFileError(path, reader.problems)
    return LoadedRules(rules, reader.notifiers)


class _Loader:
    def __init__(self, path: Path, document: Document, environ: Mapping[str, str], loopback: bool) -> None:
        self._folder = path.parent
        self._document = document
        self._environ = environ
        self._loopback = loopback
        self.problems = list(document.problems)
        self.notifiers: dict[str, Notifier] = {}

    def decode(self) -> Rules | None:
        """Return the rules, or None when the file has no such shape; each part that has not is a problem."""
        value = self._document.value
        if value is None and not self.problems:
            self._wrong((), "the file is empty")
        if not isinstance(value, dict):
            if value is not None:
                self._wrong((), f"a rule file holds {', '.join(_PARTS)}")
            return None
        for name in value.keys() - set(_PARTS):
            self._wrong((name,), f"unknown key {name!r}: there are {', '.join(_PARTS)}")
        targets = self._each(value, "targets", Target)
        rules = self._each(value, "rules", Rule)
        heartbeats = self._heartbeats(value)
        thresholds = self._each(value, "thresholds", Threshold)
        if self.problems:
            return None
        return Rules(tuple(targets), tuple(rules), heartbeats, tuple(thresholds))

    def judge(self, rules: Rules, checks: Collection[str] | None) -> None:
        """Look for what the shape alone does not show: names without a meaning, URLs, secrets."""
        parts = {"targets": rules.targets, "rules": rules.rules, "thresholds": rules.thresholds}
        for part, found in parts.items():
            names = [one.name for one in found]
            # limits and rules are kept in one table
            taken = [rule.name for rule in rules.rules] if part == "thresholds" else []
            for number, name in enumerate(names):
                if name in [*taken, *names[:number]]:
                    self._wrong((part, number, "name"), f"the name {name!r} is taken")
        known = {target.name for target in rules.targets}
        for number, rule in enumerate(rules.rules):
            for place, name in enumerate(rule.targets):
                if name not in known:
                    there = ", ".join(sorted(known)) or "none"
                    self._wrong(("rules", number, "targets", place), f"there is no target {name!r}; there are {there}")
            if checks is not None:
                self._judge_names(number, rule, checks)
        for number, target in enumerate(rules.targets):
            self._judge_target(number, target)

    def _judge_names(self, number: int, rule: Rule, checks: Collection[str]) -> None:
        """Refuse a pattern that no check matches, in a rule about checks alone."""
        about_checks = rule.on == (Kind.CHECK,)
        for part, patterns in (("match", rule.match), ("except", rule.except_)):
            for place, pattern in enumerate(patterns):
                if (about_checks or ":" in pattern) and not any(fnmatchcase(check, pattern) for check in checks):
                    self._wrong(("rules", number, part, place), f"no check is named {pattern!r}")

    def _judge_target(self, number: int, target: Target) -> None:
        at: Place = ("targets", number)
        if isinstance(target, Webhook):
            url = self._text(target.url, (*at, "url"), refers=target.url.startswith(("file:", "env:")))
            secret = self._text(target.secret, (*at, "secret"))
            if secret is not None and len(secret) < LEAST_SECRET:
                self._wrong((*at, "secret"), f"the secret is shorter than {LEAST_SECRET} characters")
            elif url is not None and secret is not None and self._ask((*at, "url"), require_url, url, self._loopback):
                self.notifiers[target.name] = WebhookNotifier(url, secret, self._loopback)
        elif isinstance(target, Mail):
            self._judge_mail(target, at)
        else:
            self._judge_chat(target, at)

    def _judge_mail(self, target: Mail, at: Place) -> None:
        before = len(self.problems)
        here = target.host.lower() in LOCAL_MAIL
        if here and not self._loopback:
            self._wrong((*at, "host"), "a host of this machine: set STREAMLAKE_ALERT_LOOPBACK=true if that is meant")
        if target.security == "none" and not here:
            self._wrong((*at, "security"), "mail without encryption is for this machine only: say starttls or tls")
        for place, address in ((("sender",), target.sender), *((("to", n), to) for n, to in enumerate(target.to))):
            if "@" not in parseaddr(address)[1] or any(sign in address for sign in "\r\n"):
                self._wrong((*at, *place), f"{address!r} is no mail address")
        if (target.user is None) != (target.password is None):
            self._wrong((*at, "password" if target.user is None else "user"), "a login is a user and a password")
        password = None if target.password is None else self._text(target.password, (*at, "password"))
        if len(self.problems) == before:
            login = None if target.user is None or password is None else (target.user, password)
            self.notifiers[target.name] = MailNotifier(
                target.host, target.port, target.sender, target.to, target.security, login
            )

    def _judge_chat(self, target: Chat, at: Place) -> None:
        url = self._text(target.url, (*at, "url"))
        if url is not None and self._ask((*at, "url"), require_service, url) is not False:
            try:
                self.notifiers[target.name] = ChatNotifier(url)
            except UsageError as error:
                self._wrong((*at, "url"), str(error))

    def _text(self, value: str, place: Place, refers: bool = True) -> str | None:
        """Return a text, or what the reference to it refers to."""
        if not refers:
            return value
        kind, _, name = value.partition(":")
        if kind == "env":
            found = self._environ.get(name)
            missing = f"the variable {name} is not set"
        else:
            path = self._folder / name
            try:
                found = path.read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                found = None
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                missing = f"the file {name} cannot be read: {why}"
            else:
                missing = f"the file {name} is empty"
        if not found:
            self._wrong(place, missing)
            return None
        return found

    def _ask(self, place: Place, ask: Callable[..., object], *arguments: Any) -> bool:
        try:
            ask(*arguments)
        except UsageError as error:
            self._wrong(place, str(error))
            return False
        return True

    def _each(self, value: dict[str, Any], part: str, kind: Any) -> list[Any]:
        items = value.get(part)
        if items is None:
            return []
        if not isinstance(items, list):
            self._wrong((part,), f"{part} is a list")
            return []
        found = [self._converted(item, kind, (part, number)) for number, item in enumerate(items)]
        return [item for item in found if item is not None]

    def _heartbeats(self, value: dict[str, Any]) -> dict[str, str]:
        found = value.get("heartbeats", HEARTBEATS)
        if not isinstance(found, dict):
            self._wrong(("heartbeats",), "heartbeats are names of processes, each with a duration")
            return {}
        for name, limit in found.items():
            self._converted(name, Name, ("heartbeats", name))
            self._converted(limit, Duration, ("heartbeats", name))
        return dict(found)

    def _converted(self, value: Any, kind: Any, place: Place) -> Any:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            where = _AT.search(str(error))
            reason = _AT.sub("", str(error)).replace("Object ", "it ")
            reason = _WORDS.get(reason, reason)
            if reason.startswith("Invalid value"):
                reason = f"{reason}: there are {_TAGS.get(place[0], 'none')}"
            if reason.startswith("Invalid enum value"):
                named = next(
                    (step for step in reversed(_steps(where[1] if where else "")) if step in _ENUMS), "severity"
                )
                reason = f"{reason}: there are {', '.join(_ENUMS[named])}"
            inner = (*place, *(_steps(where[1]) if where else ()))
            if unknown := _UNKNOWN.match(str(error)):
                inner = (*inner, unknown[1])
            self._wrong(inner, reason)
            return None

    def _wrong(self, place: Place, reason: str) -> None:
        self.problems.append(Problem(self._document.line(place), reason))


def _steps(path: str) -> Place:
    """Return the place that msgspec names: ``.storm.window`` or ``.to[1]``; ``[...]`` is a key of a mapping."""
    found: list[str | int] = []
    for name, number in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        found.append(name if name else int(number))
    return tuple(found)


EXAMPLE: Final = f"""\
# Who is told of what. Secrets stand elsewhere: file:PATH (beside this file) or env:NAME.
targets:
  - name: ops
    kind: webhook
    url: https://hooks.example.com/streamlake
    secret: file:secrets/webhook
  - name: mail
    kind: mail
    host: mail.example.com
    sender: streamlake@example.com
    to: [ops@example.com]
    user: streamlake
    password: env:MAIL_PASSWORD
    storm: {{messages: 2, window: 60s}}
rules:
  - name: errors
    targets: [ops, mail]
    severity: error
    except: [{", ".join(f'"{check}"' for check in WATCHED_ELSEWHERE)}]
    remind: 6h
  - name: bad-bars
    on: [check]
    match: ["raw/bars:*"]
    targets: [ops]
    severity: warning
    cooldown: 10m
thresholds:
  - name: ibm-cheap
    of: price
    instruments: [IBM]
    below: 180
    hysteresis: 0.02
  - name: wild
    of: volatility
    bars: 5
    above: 0.03
heartbeats:
  consumer: 60s
  scorer: 60s
  dagster-daemon: 3m
"""
"""A whole rule file, for the documents."""
