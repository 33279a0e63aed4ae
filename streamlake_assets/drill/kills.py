"""Rows 1 to 3: the consumer is killed in mid-stream, at named points of a batch, or asked to stop under load.

Belongs here: the end of consumer processes. Stays out: the end of servers (``outages``, ``database``).
"""

import random
import time

from streamlake_assets.broker.reader import CLASSIC_CONFIG
from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import DrillError, Outcome
from streamlake_assets.drill.manifest import (
    Sending,
    bad_sending,
    numbered_bars,
    numbered_message,
    numbered_messages,
    sending,
)
from streamlake_assets.drill.plant import Plant
from streamlake_assets.stores import schema

SESSION_S = CLASSIC_CONFIG["session.timeout.ms"] / 1000
"""The consumer's session timeout: that long its partitions stay with a dead one."""
CRASH_POINTS = ("rows", "offsets", "committed", "acknowledge")
CRASH_EXIT = 137
MOST_BEFORE_A_KILL = 3_000
"""Messages after which the next kill comes at the latest: fewer than come while a dead consumer's session lasts."""
CRASH_WAIT_S = 20.0
LIMITS_LIFTED = {"STREAMLAKE_DEAD_LETTER_SHARE": "0", "STREAMLAKE_DEAD_LETTER_RUN": "0"}
_POISON = (b"", b"{", b'{"v":9}', b"\xff\x00", b'{"open":NaN}')


def with_poison(total: int, order: random.Random) -> list[Sending]:
    """Return numbered bars of which one in a hundred is broken, in a random order."""
    messages = [sending(bar) for bar in numbered_bars(total - total // 100)]
    messages += [bad_sending(b"S1", order.choice(_POISON) + b"%d" % number) for number in range(total // 100)]
    order.shuffle(messages)
    return messages


def _one_in_a_hundred_broken(number: int) -> Sending:
    if number % 100 != 99:
        return numbered_message(number)
    return bad_sending(b"S1", _POISON[number // 100 % len(_POISON)] + b"%d" % number)


@fault(row=1, title="kill -9 in mid-stream", injected="consumer process, random moments", fast=True)
def killed_mid_stream(plant: Plant) -> Outcome:
    """Each kill leaves a batch undone; the next life does it again, once."""
    kills, rate = (1, 1_000) if plant.fast else (20, 600)
    order = random.Random(1)  # noqa: S311
    plant.env |= LIMITS_LIFTED
    recoveries = []
    waiting = []
    consumer = plant.consumer().until_ready()
    with plant.streaming(rate, make=_one_in_a_hundred_broken):
        for _ in range(kills):
            plant.until_more_stored(plant.stored() + order.randrange(rate if plant.fast else MOST_BEFORE_A_KILL))
            consumer.kill()
            stored = plant.stored()
            waiting.append(sum(plant.watermarks().values()) - stored)
            consumer = plant.consumer()
            recoveries.append(plant.until_more_stored(stored))
    plant.until_stored()
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = max(recoveries)
    outcome.require(max(recoveries) < 2 * SESSION_S, f"a kill cost {max(recoveries):.1f} s")
    lives = len({batch.consumer for batch in plant.rows(schema.ingest_batches)})
    outcome.require(lives == kills + 1, f"{lives} lives stored something, not {kills + 1}")
    outcome.require(min(waiting) > 0, "a kill came when nothing was under way")
    outcome.facts |= {
        "kills": kills,
        "recovery_s_each": [round(one, 1) for one in recoveries],
        "under_way_at_each": waiting,
    }
    return outcome


@fault(row=2, title="crash at a named point of a batch", injected="consumer, after rows, offset, COMMIT, before ack")
def crash_points(plant: Plant) -> Outcome:
    """A crash before COMMIT leaves nothing of its batch, one after it leaves all of it."""
    size = 500 if plant.fast else 5_000
    moved: dict[str, int] = {}
    recoveries = []
    for number, point in enumerate(CRASH_POINTS):
        doomed = plant.consumer(env={"STREAMLAKE_CRASH_AT": point}).until_ready()
        before = plant.stored()
        plant.send([sending(bar) for bar in numbered_bars(size, first=number * size)])
        code = doomed.until_exit(CRASH_WAIT_S)
        if code != CRASH_EXIT:
            raise DrillError(f"the consumer ended with {code} instead of crashing at {point}")
        moved[point] = plant.stored() - before
        begun = time.monotonic()
        clean = plant.consumer().until_ready()
        plant.until_stored()
        recoveries.append(time.monotonic() - begun)
        clean.stop()
    outcome = plant.check()
    outcome.recovery_s = max(recoveries)
    outcome.facts |= {"stored_by_the_crashed_batch": moved}
    for point in ("rows", "offsets"):
        outcome.require(moved[point] == 0, f"a crash after {point} left {moved[point]} messages")
    for point in ("committed", "acknowledge"):
        outcome.require(moved[point] > 0, f"a crash at {point} left nothing")
    return outcome


@fault(row=2, title="crash at all four points at once", injected="four consumers of one group", fast=True)
def crash_points_at_once(plant: Plant) -> Outcome:
    """Four consumers, a partition each, crash at their first batch; a fifth does what they left undone."""
    doomed = [plant.consumer(env={"STREAMLAKE_CRASH_AT": point}) for point in CRASH_POINTS]
    for one in doomed:
        one.until_ready()
    plant.send(numbered_messages(2_000))
    codes = [one.until_exit(CRASH_WAIT_S) for one in doomed]
    if set(codes) != {CRASH_EXIT}:
        raise DrillError(f"the consumers ended with {codes}")
    left = plant.stored()
    plant.consumer()
    recovery = plant.until_stored()
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(0 < left < outcome.sent, f"the crashed consumers left {left} of {outcome.sent} messages")
    outcome.facts |= {"stored_by_the_crashed_batches": left}
    return outcome


@fault(row=3, title="SIGTERM under load", injected="consumer process at 10,000 messages/s")
def stopped_under_load(plant: Plant) -> Outcome:
    """It stops within seconds, and what it has not stored is what lies unread on the topic."""
    consumer = plant.consumer().until_ready()
    with plant.streaming(10_000):
        plant.until_more_stored(2_000 if plant.fast else 20_000)
        seconds = consumer.stop()
        stored = plant.stored()
        rows = plant.count(schema.bars) + plant.count(schema.corporate_actions)
        unread = sum(plant.watermarks().values()) - stored
    plant.consumer()
    recovery = plant.until_stored()
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(seconds < 5, f"it took {seconds:.1f} s to stop")
    outcome.require(unread > 0, "nothing was left to read: there was no load")
    outcome.require(rows == stored, f"{rows} rows for {stored} stored messages: a batch was cut in two")
    outcome.facts |= {"stopped_in_s": round(seconds, 2), "stored": stored, "unread_at_that_moment": unread}
    return outcome
