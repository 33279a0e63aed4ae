"""``streamlake fetch``: bars and corporate actions of a provider onto the topics, with what the provider left out.

Belongs here: the command without its command line. Stays out: providers (``sources``), the count of their calls
(``stores.provider_quota``), options (``fetch_app``).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from msgspec.structs import replace

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import ensure_topics
from streamlake_assets.commands.data import require_servers, wait_stored
from streamlake_assets.errors import BadRecordError, UsageError
from streamlake_assets.market.calendars import session_open_close, sessions_between
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.coverage import sessions_covered
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import AssetClass, Bar, CorporateAction, Instrument, Interval, Status
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.replay import now, publish
from streamlake_assets.sources import alpha_vantage, massive
from streamlake_assets.sources.http_json import JsonApi
from streamlake_assets.stores import bar_reader
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.provider_quota import ProviderQuota

PROVIDERS: Final = ("massive", "alpha-vantage")


class Wanted(NamedTuple):
    """What to ask a provider for; days are of the exchange, both included."""

    symbols: Sequence[str]
    exchange: str
    asset_class: AssetClass
    interval: Interval
    first: dt.date
    last: dt.date
    all_hours: bool = False
    """Keep intraday bars outside the exchange's sessions too."""


class Fetched(NamedTuple):
    """What came of one instrument."""

    bars: list[Bar]
    actions: list[CorporateAction]
    rejected: Counter[str]
    outside_hours: int
    dividends_without_close: int


def open_api(settings: Settings, provider: str, engine: sa.Engine) -> JsonApi:
    """Return the client of a provider, its calls counted in the database.

    Raises:
        SettingError: there is no key.
        UsageError: the provider is not known.
    """
    if provider == "massive":
        per_minute, per_day = settings.massive_calls_per_minute, settings.massive_calls_per_day
        quota = ProviderQuota(engine, provider, per_minute, per_day, now)
        key = settings.massive_key.get_secret_value()
        return JsonApi(provider, settings.massive_url, key, quota, key_setting="STREAMLAKE_MASSIVE_KEY", bearer=True)
    if provider == "alpha-vantage":
        per_minute, per_day = settings.alpha_vantage_calls_per_minute, settings.alpha_vantage_calls_per_day
        quota = ProviderQuota(engine, provider, per_minute, per_day, now)
        key = settings.alpha_vantage_key.get_secret_value()
        url = settings.alpha_vantage_url
        return JsonApi(provider, url, key, quota, key_setting="STREAMLAKE_ALPHA_VANTAGE_KEY", bearer=False)
    raise UsageError(f"provider {provider}: {' or '.join(PROVIDERS)}")


def fetch(api: JsonApi, instrument: Instrument, wanted: Wanted) -> Fetched:
    """Ask a provider for one instrument.

    Raises:
        SettingError: the key is refused, or the plan does not include this.
        UsageError: the symbol is not known.
        TryLaterError: limits, outages.
        IntegrityError: an answer that must not be taken.
    """
    rejected: Counter[str] = Counter()

    def on_reject(error: BadRecordError) -> None:
        rejected[error.reason] += 1

    asked = (api, instrument, wanted.asset_class, wanted.interval, wanted.first, wanted.last, now(), on_reject)
    if api.provider == "massive":
        found = list(massive.aggregates(*asked))
    else:
        found = list(alpha_vantage.time_series(*asked, wanted.all_hours))
    bars = found if wanted.all_hours else list(_within_hours(found))
    actions: list[CorporateAction] = []
    skipped = 0
    if api.provider == "massive" and wanted.interval is Interval.D1 and wanted.asset_class is AssetClass.STOCK:
        closes: dict[dt.date, Decimal] = {
            session_date(bar.bar_time, bar.exchange): bar.close for bar in bars if bar.status is Status.SETTLED
        }
        actions, skipped = massive.corporate_actions(api, instrument, wanted.first, wanted.last, closes)
    return Fetched(bars, actions, rejected, len(found) - len(bars), skipped)


def fetch_to_kafka(settings: Settings, provider: str, wanted: Wanted, wait: bool, say: Say) -> dict[str, Any]:
    """Fetch instruments one after the other and publish each; return what came and what did not.

    Raises:
        SettingError: there is no key, it is refused, or a configured server does not answer.
        UsageError: a symbol or the provider is not known.
        TryLaterError: limits, outages; what was published before stays published.
        IntegrityError: an answer that must not be taken.
    """
    if provider == "massive" and wanted.asset_class is not AssetClass.STOCK:
        raise UsageError(
            f"massive: only stocks are fetched, its names of other classes are no symbols ({wanted.asset_class})"
        )
    # a range that the calendar does not know is refused before a call is spent
    sessions_between(wanted.exchange, wanted.asset_class, wanted.first, wanted.last)
    require_servers(settings, "kafka", "mysql")
    ensure_topics(settings.kafka, (BARS_TOPIC, ACTIONS_TOPIC))
    engine = make_engine(settings, DatabaseRole.WRITER)
    reports = []
    try:
        with open_api(settings, provider, engine) as api, Publisher(settings.kafka) as publisher:
            for symbol in wanted.symbols:
                instrument = Instrument(symbol, wanted.exchange)
                say(f"{provider}: {symbol}, {wanted.interval}, {wanted.first} to {wanted.last}")
                found = fetch(api, instrument, wanted)
                found = found._replace(bars=restated(engine, instrument, wanted.interval, found.bars))
                publish(publisher, [*found.actions, *found.bars])
                reports.append(_report(instrument, wanted, found))
        if wait:
            wait_stored(settings, publisher, say)
    finally:
        engine.dispose()
    return {
        "provider": provider,
        "stored": wait,
        "complete": all(one["complete"] for one in reports),
        "symbols": reports,
    }


def restated(engine: sa.Engine, instrument: Instrument, interval: Interval, bars: list[Bar]) -> list[Bar]:
    """Give what the provider states anew the time of this statement: it must win over what it said before."""
    if not bars:
        return bars
    with bar_reader.snapshot(engine) as connection:
        first, last = (edge(bar.bar_time for bar in bars) for edge in (min, max))
        stored = bar_reader.stated_bars(connection, instrument, interval, bars[0].source, first, last)
    moment = now()

    def stated(bar: Bar) -> Bar:
        before = stored.get(bar.bar_time)
        if before is None or bar.status is not Status.SETTLED:
            return bar
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap, bar.trades)
        return replace(bar, as_of=before.as_of if values == before.values else moment)

    return [stated(bar) for bar in bars]


def _within_hours(bars: Sequence[Bar]) -> Iterator[Bar]:
    hours: dict[dt.date, tuple[dt.datetime, dt.datetime] | None] = {}
    for bar in bars:
        if bar.interval is Interval.D1:
            yield bar
            continue
        day = session_date(bar.bar_time, bar.exchange)
        if day not in hours:
            hours[day] = _hours(bar, day)
        found = hours[day]
        if found is not None and found[0] <= bar.bar_time < found[1]:
            yield bar


def _hours(bar: Bar, day: dt.date) -> tuple[dt.datetime, dt.datetime] | None:
    if not sessions_between(bar.exchange, bar.asset_class, day, day):
        return None
    return session_open_close(bar.exchange, day, bar.asset_class)


def _report(instrument: Instrument, wanted: Wanted, found: Fetched) -> dict[str, Any]:
    today = session_date(now(), wanted.exchange)
    # a session that is on has not sent its bars yet
    last = min(wanted.last, today - dt.timedelta(days=1))
    expected = sessions_between(wanted.exchange, wanted.asset_class, wanted.first, last)
    covered = sessions_covered(expected, {session_date(bar.bar_time, bar.exchange) for bar in found.bars})
    return {
        "symbol": instrument.symbol,
        "bars": len(found.bars),
        "actions": len(found.actions),
        "rejected": dict(found.rejected),
        "outside_hours": found.outside_hours,
        "dividends_without_close": found.dividends_without_close,
        "complete": covered.passed,
        "coverage": covered.text,
        **covered.facts,
    }
