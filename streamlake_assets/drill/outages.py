"""Rows 4 and 21: the broker or the database is away for a while.

Belongs here: servers that go and come back whole. Stays out: what a database does to single transactions
(``database``).
"""

import time

from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import DrillError, Outcome
from streamlake_assets.drill.manifest import numbered_messages
from streamlake_assets.drill.plant import Plant
from streamlake_assets.stores import schema

RSS_GROWTH_MIB = 64
FIRST = 2_000
"""Messages before the fault."""


@fault(row=4, title="broker down, then up", injected="SIGKILL of the real broker")
def broker_down(plant: Plant) -> Outcome:
    """The consumer lives on, and goes on from where it was when the broker is back."""
    down_s, rate = (5.0, 200) if plant.fast else (60.0, 500)
    broker = plant.kafka.child
    if broker is None:
        raise DrillError("the plant has no broker of its own")
    consumer = plant.consumer().until_ready()
    with plant.streaming(rate):
        plant.until_more_stored(rate)
        broker.kill()
        plant.until(lambda: not broker.running, "the end of the broker")
        broker.stop()
        plant.hold(down_s, consumer)
        before, waiting = plant.stored(), plant.manifest.sent
        begun = time.monotonic()
        plant.kafka.start()
        started = time.monotonic() - begun
        recovery = plant.until_more_stored(before)
    plant.until_stored()
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(recovery < 10, f"the first message came {recovery:.1f} s after the broker")
    outcome.require(consumer.running, "the consumer did not live through it")
    outcome.require(before < waiting, "nothing was waiting when the broker came back")
    outcome.facts |= {
        "down_s": down_s,
        "broker_start_s": round(started, 1),
        "errors_logged": plant.logged("kafka_error") + plant.logged("kafka_commit_failed"),
    }
    consumer.stop()
    return outcome


@fault(row=21, title="database down, topic full", injected="the real database stopped", fast=True)
def database_down(plant: Plant) -> Outcome:
    """The consumer waits with flat memory, calls nothing bad, and catches up faster than messages come."""
    down_s, rate, burst = (2.0, 500, 10_000) if plant.fast else (120.0, 1_000, 100_000)
    consumer = plant.consumer().until_ready()
    plant.send(numbered_messages(FIRST))
    plant.until_stored()
    before_mib = consumer.rss_mib
    most_mib = before_mib
    plant.mysql.stop()
    plant.send(numbered_messages(burst, first=FIRST))
    with plant.streaming(rate):
        end = time.monotonic() + down_s
        while time.monotonic() < end:
            plant.hold(0.5, consumer)
            most_mib = max(most_mib, consumer.rss_mib)
        alive, ready = consumer.get("/healthz")[0], consumer.get("/readyz")[0]
        plant.mysql.start()
        begun = time.monotonic()
        before = plant.stored()
        recovery = plant.until_more_stored(before)
        waiting = sum(plant.watermarks().values()) - before
        plant.until(lambda: plant.stored() >= before + waiting, "the end of what was waiting", 120)
        caught_up = time.monotonic() - begun
        most_mib = max(most_mib, consumer.rss_mib)
    plant.until_stored()
    if before != FIRST:
        raise DrillError(f"{before} messages were stored while the database was down")
    outcome = plant.check()
    growth = most_mib - before_mib
    speed = waiting / caught_up
    outcome.recovery_s = recovery
    outcome.require((alive, ready) == (200, 503), f"/healthz said {alive} and /readyz {ready} while it was down")
    outcome.require(growth < RSS_GROWTH_MIB, f"memory grew by {growth:.0f} MiB")
    outcome.require(plant.count(schema.dead_letters) == 0, "the outage made dead letters")
    outcome.require(speed > 3 * rate, f"it caught up at {speed:.0f} messages/s while {rate} came")
    outcome.facts |= {
        "down_s": down_s,
        "waiting": waiting,
        "caught_up_s": round(caught_up, 1),
        "catching_up_per_s": round(speed),
        "live_per_s": rate,
        "rss_before_mib": round(before_mib),
        "rss_most_mib": round(most_mib),
    }
    return outcome
