"""From a settled bar to the committed forecast of its instrument's next session, under a steady stream.

Real broker, database, consumer and scorer, each a process of its own. As many instruments as bars in a second, each
with a settled daily bar a second, so that no forecast is late merely because its instrument's next bar has come.
Champions: the linear model of the real bars on the range, version 0 on the return; both targets of a bar are committed
together.

Timed by the scorer itself, ``streamlake_event_to_forecast_seconds``: from ``event_time``, stamped when the bar is
handed to the producer (linger 5 ms), to the return of the commit that holds the forecasts. The consumer stores the same
bar meanwhile. Checked: the ledger holds the forecasts of every bar that was timed. ``unsaid`` is the share of bars
whose next session was not forecast, because its own bar had come before the scorer got to it; ``late`` is the share
that the ledger marked, because that bar was stored before the forecast was.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import sqlalchemy as sa
from confluent_kafka import Producer

from benchmarks.cases.latency import read_histogram
from benchmarks.cases.train import real_frame
from benchmarks.figures import histogram
from benchmarks.measure import cpu_seconds
from benchmarks.peers.paced import Parts, send
from benchmarks.stack import Stack, fresh_stack
from streamlake_assets.broker.publisher import PRODUCER_CONFIG, Publisher
from streamlake_assets.broker.topics import client_config
from streamlake_assets.commands.services import scorer
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows.machine import wait_idle
from streamlake_assets.learning.spec import CLUSTER_PLAN, baseline_spec, linear_spec
from streamlake_assets.learning.train import train
from streamlake_assets.market import calendars
from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Bar, Interval, Status
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, DatabaseRole
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.stores import model_register, schema
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.mysql import make_engine

NAME = "forecast"
RATES = (100, 1_000)
SECONDS = 20
WARM_SESSIONS = 60
"""A second each: a broker that has just started compiles itself, on one core, for about as long."""
IDLE_S = 20.0
METRIC = "streamlake_event_to_forecast_seconds"
EXCHANGE = "XNYS"
HISTORY = LOOKBACK + 3
PATIENCE_S = 120.0
_PLACEHOLDER = dt.datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
_WRITTEN = b"2001-02-03T04:05:06.789012Z"


def run(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run ``rounds`` rounds at each rate, each on a fresh stack."""
    results = []
    for number in range(1, rounds + 1):
        result: dict[str, float] = {}
        for rate in RATES:
            with fresh_stack(say) as stack:
                found = _measure(stack, rate, say)
            say(f"{NAME} at {rate}/s, round {number}: {found}")
            result |= {f"{name}@{rate}": value for name, value in found.items()}
        results.append(result)
    return {"case": NAME, "seconds": SECONDS, "servers": stack.servers, "rounds": results}


def _measure(stack: Stack, rate: int, say: Callable[[str], None]) -> dict[str, float]:
    first = dt.date(2020, 1, 2)
    sessions = calendars.sessions_between(EXCHANGE, AssetClass.STOCK, first, first + dt.timedelta(days=365))
    days = sessions[: HISTORY + WARM_SESSIONS + SECONDS]
    symbols = [f"F{number:04d}" for number in range(rate)]
    say(f"{NAME} at {rate}/s: storing {HISTORY * rate:,} bars of history")
    stored = StoredPlaces(stack.engine, stack.settings.kafka)
    made = _Market(symbols)
    with Publisher(stack.settings.kafka) as publisher:
        for day in days[:HISTORY]:
            publish(publisher, list(made.bars(day)))
    stored.wait(publisher.places)
    writer = make_engine(stack.settings, DatabaseRole.WRITER)
    try:
        _name_champions(stack, writer)
        stack.supervisor.start(scorer(stack.settings))
        # the forecasts of the session after the history, due at the start, do not count
        _wait_said(stack, days[HISTORY], rate)
        warm = [part for day in days[HISTORY : HISTORY + WARM_SESSIONS] for part in made.parts(day)]
        rest = [part for day in days[HISTORY + WARM_SESSIONS :] for part in made.parts(day)]
        producer = Producer({**client_config(stack.settings.kafka), **PRODUCER_CONFIG})
        send(producer, warm, rate)
        _wait_said(stack, days[HISTORY + WARM_SESSIONS], rate)
        wait_idle(IDLE_S)
        before, spent = _seen(stack), _spent(stack)
        report = send(producer, rest, rate)
        _wait_said(stack, sessions[HISTORY + WARM_SESSIONS + SECONDS], rate)
        asked = sessions[HISTORY + WARM_SESSIONS + 1 : HISTORY + WARM_SESSIONS + SECONDS + 1]
        said = _rows(stack, schema.forecasts.c.target_session.in_(asked)) // len(Target)
        wait_until(lambda: _count(_seen(stack)) - _count(before) >= said, 10.0)
        found = histogram(_seen(stack), before)
        used = {name: round((after - spent[name]) / report["seconds"], 2) for name, after in _spent(stack).items()}
        if round(found.total) != said:
            raise StreamlakeError(f"{found.total:.0f} bars got their forecasts, the ledger holds those of {said}")
        return {
            "p50_ms": round(found.quantile(0.5) * 1000, 1),
            "p99_ms": round(found.quantile(0.99) * 1000, 1),
            "unsaid": round(1 - said / len(rest), 4),
            "late": round(_rows(stack, schema.forecasts.c.late.is_(True)) / _rows(stack), 4),
            "producer_late_p99_ms": report["late_p99_ms"],
            **{f"{name}_cores": value for name, value in used.items()},
        }
    finally:
        writer.dispose()


def _name_champions(stack: Stack, writer: sa.Engine) -> None:
    models = ModelFolder(stack.settings.data_dir / "models")
    specs = [
        msgspec.structs.replace(linear_spec(Target.LOG_RANGE, "sklearn"), plan=CLUSTER_PLAN),
        baseline_spec(Target.ADJUSTED_RETURN),
    ]
    for model in train(real_frame(), "benchmark", specs, offsets={}, trained_at=now()):
        with models.staging() as folder:
            model.save(folder)
            models.publish(folder, model.manifest.to_dict())
        model_register.register_models(writer, [models.manifest(model.manifest.version)])
        model_register.set_champion(writer, model.manifest.target, model.manifest.version, "benchmark")


class _Market:
    """Random walks of many instruments, the same for every call order; a bar for each of them and session."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = symbols
        self._made = np.random.default_rng(20200102)
        self._close = self._made.uniform(20.0, 200.0, len(symbols))

    def bars(self, day: dt.date) -> Iterator[Bar]:
        opened = self._close
        self._close = opened * np.exp(self._made.normal(0.0, 0.01, len(opened)))
        high = np.maximum(opened, self._close) * (1.0 + self._made.uniform(0.001, 0.01, len(opened)))
        low = np.minimum(opened, self._close) * (1.0 - self._made.uniform(0.001, 0.01, len(opened)))
        volume = self._made.integers(1_000, 100_000, len(opened))
        start = daily_bar_time(day, EXCHANGE)
        for row, symbol in enumerate(self._symbols):
            yield Bar(
                symbol=symbol,
                exchange=EXCHANGE,
                asset_class=AssetClass.STOCK,
                interval=Interval.D1,
                bar_time=start,
                open=_price(opened[row]),
                high=_price(high[row]),
                low=_price(low[row]),
                close=_price(self._close[row]),
                volume=Decimal(int(volume[row])),
                source="benchmark",
                synthetic=True,
                status=Status.SETTLED,
                event_time=start,
                as_of=start + dt.timedelta(days=1),
            )

    def parts(self, day: dt.date) -> Iterator[Parts]:
        """Yield the messages of a session, open where the moment of sending belongs."""
        for bar in self.bars(day):
            before, after = encode_bar(bar, _PLACEHOLDER).split(_WRITTEN)
            yield bar.symbol.encode(), before, after


def _price(value: float) -> Decimal:
    return Decimal(f"{value:.4f}")


def _wait_said(stack: Stack, session: dt.date, instruments: int) -> None:
    """Wait until every instrument has its forecasts for a session."""
    wanted = instruments * len(Target)
    if not wait_until(lambda: _rows(stack, schema.forecasts.c.target_session == session) >= wanted, PATIENCE_S):
        raise StreamlakeError(f"the ledger did not get {wanted:,} forecasts for {session} in {PATIENCE_S:.0f} s")


def _rows(stack: Stack, *which: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(schema.forecasts).where(*which)
    with stack.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _seen(stack: Stack) -> Mapping[float, float]:
    page = httpx.get(f"http://{LOOPBACK}:{stack.settings.scorer_port}/metrics", timeout=10).text
    return read_histogram(page, METRIC)


def _count(seen: Mapping[float, float]) -> float:
    return max(seen.values())


def _spent(stack: Stack) -> dict[str, float]:
    own = {name: cpu_seconds(stack.supervisor.child(name).pid or 0) for name in ("consumer", "scorer")}
    everything = sum(cpu_seconds(child.pid) for child in psutil.Process().children())
    return {**own, "all": everything}
