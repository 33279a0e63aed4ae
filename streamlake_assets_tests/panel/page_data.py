"""Bars, documents and forecasts for tests of the page, put into real servers."""

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pymongo
from bson.decimal128 import Decimal128

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.tail import TailReader
from streamlake_assets.broker.topics import describe_streams, ensure_topics
from streamlake_assets.market.contract import BARS_TOPIC, encode_bar
from streamlake_assets.market.forecasts import Forecast
from streamlake_assets.market.messages import Message
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Bar, Interval, Status
from streamlake_assets.settings import DATABASE, DatabaseRole, Settings
from streamlake_assets.sidecar.ingest import cut_slice
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.ledger import issue
from streamlake_assets.stores.migrate import grant_rights, upgrade
from streamlake_assets.stores.model_register import register_models, set_champion
from streamlake_assets.stores.mysql import make_engine

FIRST_DAY = dt.date(2012, 3, 1)
SOURCE = "bokeh_sampledata"


def day(number: int) -> dt.date:
    """The session with this number; every day is one."""
    return FIRST_DAY + dt.timedelta(days=number)


def daily(
    symbol: str, number: int, *, close: str | None = None, status: Status = Status.SETTLED, **more: object
) -> Bar:
    """A real daily bar; its close tells its number."""
    price = Decimal(close) if close else Decimal(100 + number % 17)
    bar_time = daily_bar_time(day(number), "XNYS")
    values: dict[str, object] = {
        "source": SOURCE,
        "as_of": bar_time + dt.timedelta(hours=12 if status is Status.PROVISIONAL else 21),
        **more,
    }
    return Bar(
        symbol=symbol,
        exchange="XNYS",
        asset_class=AssetClass.STOCK,
        interval=Interval.D1,
        bar_time=bar_time,
        open=Decimal(100),
        high=max(price, Decimal(100)) + 2,
        low=min(price, Decimal(100)) - 2,
        close=price,
        volume=Decimal(1000 + number),
        status=status,
        event_time=bar_time,
        **values,  # type: ignore[arg-type]
    )


def five_minutes(symbol: str, number: int, count: int, first: int = 0) -> list[Bar]:
    """Made 5-minute bars of a session."""
    start = dt.datetime.combine(day(number), dt.time(14, 30), UTC)
    step = dt.timedelta(minutes=5)
    return [
        Bar(
            symbol=symbol,
            exchange="XNYS",
            asset_class=AssetClass.STOCK,
            interval=Interval.M5,
            bar_time=start + at * step,
            open=Decimal(100 + at % 3),
            high=Decimal(104),
            low=Decimal(98),
            close=Decimal(101 + at % 2),
            volume=Decimal(10),
            source="bridge",
            synthetic=True,
            event_time=start,
            as_of=start + (at + 1) * step,
        )
        for at in range(first, first + count)
    ]


def publish(settings: Settings, bars: Iterable[Bar]) -> None:
    """Put bars on the topic and wait until the broker has them."""
    with Publisher(settings.kafka) as publisher:
        for bar in bars:
            publisher.send(BARS_TOPIC, bar.symbol, encode_bar(bar, dt.datetime.now(UTC)))


def read_topic(settings: Settings) -> list[Message]:
    """Read the whole topic."""
    reader = TailReader(settings.kafka, BARS_TOPIC)
    try:
        reader.start({})
        left = sum(reader.high_watermarks(5.0).values())
        messages: list[Message] = []
        while len(messages) < left:
            messages += reader.take(5000, 1.0)
        return messages
    finally:
        reader.close()


def store_topic(settings: Settings) -> None:
    """Do what the consumer does, once: store what the tables do not have yet."""
    engine = make_engine(settings, DatabaseRole.WRITER)
    try:
        stream = describe_streams(settings.kafka, [BARS_TOPIC])[BARS_TOPIC]
        store = BarStore(engine, "test")
        stored = store.next_offsets(stream)
        by_partition: dict[int, list[Message]] = {}
        for message in read_topic(settings):
            by_partition.setdefault(message.partition, []).append(message)
        slices = [cut_slice(stream, group, stored.get(number)) for number, group in sorted(by_partition.items())]
        store.ingest([one for one in slices if one is not None])
    finally:
        engine.dispose()


def migrate(settings: Settings) -> None:
    """Bring an empty schema to the newest one, with its grants, and make the topic."""
    engine = make_engine(settings, DatabaseRole.MIGRATE)
    upgrade(engine)
    grant_rights(engine)
    engine.dispose()
    ensure_topics(settings.kafka, [BARS_TOPIC])


def put_documents(settings: Settings, bars: Sequence[Bar], *, interval: str = "1d", synthetic: bool = False) -> None:
    """Make session documents of daily bars and say that they reach as far as the tables do."""
    stream = describe_streams(settings.kafka, [BARS_TOPIC])[BARS_TOPIC]
    engine = make_engine(settings, DatabaseRole.WRITER)
    offsets = BarStore(engine, "test").next_offsets(stream)
    engine.dispose()
    records: list[dict[str, Any]] = [
        {
            "_id": f"{bar.instrument}|{bar.bar_time.date()}",
            "symbol": bar.symbol,
            "exchange": bar.exchange,
            "session": bar.bar_time.date().isoformat(),
            "bar_time": bar.bar_time,
            "interval": interval,
            "bars": 1,
            **{name: Decimal128(getattr(bar, name)) for name in ("open", "high", "low", "close", "volume")},
            "vwap": None,
            "realised_volatility": None,
            "gaps": 0,
            "synthetic": synthetic,
            "complete": True,
            "watermark": {},
        }
        for bar in bars
    ]
    with pymongo.MongoClient[dict[str, Any]](settings.mongo) as client:
        database = client[DATABASE]
        database["session_bars"].delete_many({})
        database["session_bars"].insert_many(records)
        state = {
            "_id": "session_bars",
            "next_offsets": {f"{BARS_TOPIC}:{partition}": offset for partition, offset in offsets.items()},
            "cluster_id": stream.cluster_id,
            "topic_id": stream.topic_id,
            "refreshed_at": dt.datetime.now(UTC),
        }
        database["cache_state"].replace_one({"_id": "session_bars"}, state, upsert=True)


def put_forecasts(settings: Settings, symbol: str, known: int) -> None:
    """Register a model without skill on returns and one with skill on ranges, and let both speak."""
    engine = make_engine(settings, DatabaseRole.WRITER)
    for target, version, made_by, skill, point, low, high in (
        (Target.ADJUSTED_RETURN, "return-v0", "baseline", False, 0.0, -0.02, 0.02),
        (Target.LOG_RANGE, "range-v1", "sklearn", True, 0.03, 0.01, 0.06),
    ):
        manifest = {"version": version, "engine": made_by, "target": target.value, "name": "test", "data_hash": "hash"}
        skills = {"skill": 0.0, "skill_low": 0.0, "skill_high": 0.0, "has_skill": skill}
        register_models(engine, [{**manifest, **skills}])
        set_champion(engine, target, version, "test")
        forecast = Forecast(
            symbol=symbol,
            exchange="XNYS",
            target=target,
            session=day(known + 1),
            after_session=day(known),
            model_version=version,
            engine=made_by,
            point=point,
            low=low,
            high=high,
            baseline=0.0,
            scale=0.02,
            has_skill=skill,
        )
        issue(engine, [forecast])
    engine.dispose()
