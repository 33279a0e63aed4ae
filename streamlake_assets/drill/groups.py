"""Rows 6 and 7: several consumers of one group, that come, go, and freeze.

Belongs here: rebalances and zombies. Stays out: consumers that die alone (``kills``).
"""

import time
from functools import partial

from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import Outcome
from streamlake_assets.drill.consumer_child import ConsumerChild
from streamlake_assets.drill.kills import SESSION_S
from streamlake_assets.drill.plant import Plant
from streamlake_assets.stores import schema

MOST_FREEZES = 8


@fault(row=6, title="rebalance storm, 1 to 3 to 1", injected="consumers started and stopped")
def rebalance_storm(plant: Plant) -> Outcome:
    """However partitions move, each message is stored by one of them."""
    cycles, rate = (1, 500) if plant.fast else (10, 1_000)
    first = plant.consumer().until_ready()
    pauses = []
    with plant.streaming(rate):
        plant.until_more_stored(0)
        for _ in range(cycles):
            others = [plant.consumer(), plant.consumer()]
            for one in others:
                one.until_ready()
            plant.until(partial(_have_stored, *others), "a batch of each newcomer")
            for one in others:
                one.stop()
            pauses.append(plant.until_more_stored(plant.stored()))
    plant.until_stored()
    first.stop()
    outcome = plant.check()
    outcome.recovery_s = max(pauses)
    writers = len({batch.consumer for batch in plant.rows(schema.ingest_batches)})
    outcome.require(writers == 1 + 2 * cycles, f"{writers} consumers stored something, not {1 + 2 * cycles}")
    outcome.facts |= {"cycles": cycles, "consumers": writers, "fenced": plant.fenced()}
    return outcome


@fault(row=7, title="frozen beyond the session timeout, then resumed", injected="SIGSTOP of a consumer")
def frozen_and_resumed(plant: Plant) -> Outcome:
    """The others take its partitions; what it holds when it wakes is refused by the stored offset."""
    rounds, rate = (1, 2_000) if plant.fast else (2, 4_000)
    frozen_times = 0
    steady = plant.consumer().until_ready()
    frozen = plant.consumer().until_ready()
    recoveries = []
    with plant.streaming(rate):
        # what it has in hand at that moment nobody can see from outside: again, until something was
        while frozen_times < rounds or (plant.fenced() == 0 and frozen_times < MOST_FREEZES):
            frozen_times += 1
            plant.until(partial(_more_batches, frozen, _batches(frozen)), "a batch of the one to be frozen")
            turns = _turns(steady)
            frozen.freeze()
            begun = time.monotonic()
            plant.until(partial(_more_turns, steady, turns), "the other consumer's turn")
            plant.until_more_stored(plant.stored())
            recoveries.append(time.monotonic() - begun)
            frozen.thaw()
            plant.until(partial(_has_settled, frozen), "the end of the sleeper's confusion")
            if not frozen.running:
                frozen = plant.consumer().until_ready()
    plant.until_stored()
    fenced = plant.fenced()
    outcome = plant.check()
    outcome.recovery_s = max(recoveries)
    outcome.require(fenced > 0, "no batch was fenced: the sleeper had nothing in hand when it woke")
    outcome.facts |= {"frozen": frozen_times, "fenced": fenced, "session_timeout_s": SESSION_S}
    return outcome


def _have_stored(*consumers: ConsumerChild) -> bool:
    return all(_batches(one) > 0 for one in consumers)


def _more_batches(consumer: ConsumerChild, than: float) -> bool:
    return _batches(consumer) > than


def _batches(consumer: ConsumerChild) -> float:
    return consumer.metric("streamlake_batch_messages_count")


def _turns(consumer: ConsumerChild) -> int:
    return consumer.log.count('"event": "assigned"')


def _more_turns(consumer: ConsumerChild, than: int) -> bool:
    return _turns(consumer) > than


def _has_settled(consumer: ConsumerChild) -> bool:
    return not consumer.running or consumer.ready()
