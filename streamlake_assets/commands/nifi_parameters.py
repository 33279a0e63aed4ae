"""Parameters of the NiFi flows: their values from the settings, and what a value may be.

Belongs here: names, defaults, checks with the parameter's name. Stays out: sending them (``nifi``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import available_timezones

from streamlake_assets.broker.topics import REJECTS_TOPIC
from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.wire import SOURCE_PATTERN, SYMBOL_PATTERN
from streamlake_assets.servers.nifi import NIFI_FOLDER
from streamlake_assets.settings import Settings

Check = Callable[[str], str]
"""From a value to what is wrong with it, or an empty text."""
REPLAY: Final = "market_replay"
EXTRA: Final = "extra_files"
PROVIDERS: Final = "provider_http"
DEFAULT_RATE: Final = 50
MOST_SINGLE: Final = 200
"""Bars a second up to which each goes alone; above, so many travel together that there are few FlowFiles a second."""
FLOWFILES_PER_S: Final = 10


class Parameter(NamedTuple):
    """One parameter of a flow.

    ``value`` when nobody says another; ``local``: of the NiFi's own machine; ``secret``: never shown; ``setting``: it
    follows from a setting, so that a deployment brings it up to date.
    """

    value: Callable[[Settings], str]
    check: Check
    local: bool = False
    secret: bool = False
    setting: bool = False


def inbox(settings: Settings) -> Path:
    """Return the folder that the local NiFi watches."""
    return settings.data_dir / "inbox"


def rejects(settings: Settings) -> Path:
    """Return the folder where the local NiFi puts what is no bar."""
    return settings.data_dir / "rejects"


def extra(settings: Settings) -> Path:
    """Return the folder that the local NiFi watches for files of other layouts."""
    return settings.data_dir / "extra"


def records_per_message(rate: int) -> int:
    """Return how many bars travel together at a rate: a publisher takes 20 to 50 ms for a FlowFile of any size."""
    return 1 if rate <= MOST_SINGLE else max(1, rate // FLOWFILES_PER_S)


def of_flows(
    settings: Settings, flows: Sequence[str], given: Mapping[str, str], is_local: bool
) -> dict[str, dict[str, str]]:
    """Return the parameters of each flow.

    Args:
        settings: where the defaults come from.
        flows: their names.
        given: values that win over them, in every flow that has the parameter.
        is_local: whether the NiFi runs on this machine; for another one its folders must be given.

    Raises:
        UsageError: a flow is not known, none has a parameter that is given, or a value cannot be; each is named.
    """
    if strange := sorted(set(flows) - PARAMETERS.keys()):
        raise UsageError(f"there is no flow {', '.join(strange)}; there are {', '.join(PARAMETERS)}")
    require_known(flows, given)
    return {flow: _of_flow(settings, flow, given, is_local) for flow in flows}


def lasting(given: Mapping[str, str]) -> Callable[[str], bool]:
    """Return whether a parameter of any flow keeps the value that NiFi has: neither given nor of a setting."""
    followed = {name for flow in PARAMETERS.values() for name, one in flow.items() if one.setting} | given.keys()
    if "replay.rate" in given:
        followed.add("records.per.message")
    return lambda name: name not in followed


def require_known(flows: Sequence[str], given: Mapping[str, str]) -> None:
    """Check that every parameter that is given belongs to one of the flows.

    Raises:
        UsageError: some do not; they are named.
    """
    known = {name: None for flow in flows for name in PARAMETERS[flow]}
    if unknown := sorted(given.keys() - known.keys()):
        raise UsageError(f"{', '.join(flows)}: no parameter {', '.join(unknown)}; there are {', '.join(known)}")


def _of_flow(settings: Settings, flow: str, given: Mapping[str, str], is_local: bool) -> dict[str, str]:
    known = PARAMETERS[flow]
    # the local broker's address means another machine's loopback there
    foreign = {name for name, one in known.items() if one.local}
    foreign |= set() if settings.kafka_bootstrap else {"kafka.bootstrap"}
    found = {name: one.value(settings) for name, one in known.items() if is_local or name not in foreign}
    found |= {name: value for name, value in given.items() if name in known}
    if missing := [name for name in known if name not in found]:
        raise UsageError(
            f"{settings.nifi_url} may be another machine: name what it has with --set {'=… --set '.join(missing)}=…"
        )
    if "records.per.message" in known and "records.per.message" not in given and found["replay.rate"].isdigit():
        found["records.per.message"] = str(records_per_message(int(found["replay.rate"])))
    wrong = [
        f"{name}={'***' if known[name].secret else repr(value)}: {problem}"
        for name, value in found.items()
        if (problem := known[name].check(value))
    ]
    if wrong:
        raise UsageError(f"parameters of {flow}: {'; '.join(wrong)}")
    return found


def _whole(value: str) -> str:
    return "" if re.fullmatch(r"[1-9][0-9]{0,6}", value) else "must be a whole number from 1 on"


def _servers(value: str) -> str:
    return "" if re.fullmatch(r"[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*", value) else "must be host:port[,host:port]"


def _topic(value: str) -> str:
    return "" if re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) else "must be the name of a topic"


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        return f"must be a regular expression: {error}"
    return ""


def _path(value: str) -> str:
    return "" if value.startswith("/") else "must be an absolute path"


def _zone(value: str) -> str:
    return "" if value in available_timezones() else "must be the name of a time zone, such as America/New_York"


def _source(value: str) -> str:
    return "" if re.match(SOURCE_PATTERN, value) else "must be small letters, digits, dots, dashes"


def _url(value: str) -> str:
    return (
        ""
        if re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*[^\s?#/])?", value)
        else "must be http(s)://host, without / at the end"
    )


def _symbols(value: str) -> str:
    wrong = [one.strip() for one in value.split(",") if value and not re.match(SYMBOL_PATTERN, one.strip())]
    return f"no symbol: {', '.join(wrong)}" if wrong else ""


def _minutes(value: str) -> str:
    return "" if value in ("1", "5", "15", "30", "60") else "must be 1, 5, 15, 30 or 60"


def _period(value: str) -> str:
    return "" if re.fullmatch(r"[1-9]\d* (sec|min|hours?|days?)", value) else "must be such as 30 sec, 5 min or 1 day"


def _header(value: str) -> str:
    return "" if value and value.isprintable() and value.isascii() else "must be one line of ASCII"


def _massive(settings: Settings) -> str:
    return f"Bearer {settings.massive_key.get_secret_value() or 'none'}"


_WATCHED: Final = {
    "kafka.bootstrap": Parameter(lambda settings: settings.kafka, _servers, setting=True),
    "topic.rejects": Parameter(lambda _: REJECTS_TOPIC, _topic),
    "input.folder": Parameter(lambda settings: str(inbox(settings)), _path, local=True, setting=True),
    "rejects.folder": Parameter(lambda settings: str(rejects(settings)), _path, local=True, setting=True),
}
PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = {
    REPLAY: {
        **_WATCHED,
        "topic.bars": Parameter(lambda _: BARS_TOPIC, _topic),
        "input.filter": Parameter(lambda _: r"[^\.].*\.csv", _pattern),
        "reference.file": Parameter(
            lambda _: str(NIFI_FOLDER / "reference" / "instruments.csv"), _path, local=True, setting=True
        ),
        "replay.rate": Parameter(lambda _: str(DEFAULT_RATE), _whole),
        "records.per.message": Parameter(lambda _: "1", _whole),
    },
    EXTRA: {
        **_WATCHED,
        "extra.folder": Parameter(lambda settings: str(extra(settings)), _path, local=True, setting=True),
        "extra.zone": Parameter(lambda _: "America/New_York", _zone),
        "extra.source": Parameter(lambda _: "extra.files", _source),
    },
    PROVIDERS: {
        **_WATCHED,
        "massive.url": Parameter(lambda settings: settings.massive_url, _url),
        "massive.authorization": Parameter(_massive, _header, secret=True),
        "massive.symbols": Parameter(lambda _: "", _symbols),
        "massive.minutes": Parameter(lambda _: "5", _minutes),
        "alpha_vantage.url": Parameter(lambda _: "https://alpha-vantage.p.rapidapi.com", _url),
        # the key of a gateway, never the one of the provider itself: that would tell it to a third party
        "alpha_vantage.key": Parameter(lambda _: "none", _header, secret=True),
        "alpha_vantage.symbols": Parameter(lambda _: "", _symbols),
        "alpha_vantage.minutes": Parameter(lambda _: "5", _minutes),
        "poll.period": Parameter(lambda _: "5 min", _period),
        "calls.per.minute": Parameter(lambda settings: str(settings.massive_calls_per_minute), _whole),
    },
}
"""By flow and name."""
