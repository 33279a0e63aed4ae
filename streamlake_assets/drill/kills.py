"""Rows 1 to 3: the consumer is killed in mid-stream, at named points of a batch, or asked to stop under load.

Belongs here: the end of consumer processes. Stays out: the end of servers (``outages``, ``database``).
"""

import random

from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import DrillError, Outcome
from streamlake_assets.drill.manifest import bad_sending, numbered_bars, sending
from streamlake_assets.drill.plant import Plant

_POISON = (b"", b"{", b'{"v":9}', b"\xff\x00", b'{"open":NaN}')
SESSION_S = 10.0
"""The consumer's session timeout: that long its partitions stay with a dead one."""


@fault(row=1, title="kill -9 in the middle of a stream", injected="consumer process, random moments", fast=True)
def killed_mid_stream(plant: Plant) -> Outcome:
    """Each kill leaves a batch undone; the next life does it again, once."""
    kills, total = (2, 20_000) if plant.fast else (20, 100_000)
    order = random.Random(1)  # noqa: S311
    messages = [sending(bar) for bar in numbered_bars(total - total // 100)]
    messages += [bad_sending(b"S1", order.choice(_POISON) + b"%d" % number) for number in range(total // 100)]
    order.shuffle(messages)
    plant.env |= {"STREAMLAKE_DEAD_LETTER_SHARE": "0", "STREAMLAKE_DEAD_LETTER_RUN": "0"}
    size = total // (kills + 1)
    recoveries = []
    consumer = plant.consumer().until_ready()
    for life in range(kills):
        before = plant.stored()
        with plant.sending(messages[life * size : (life + 1) * size], per_second=10_000):
            plant.until_more_stored(before + int(size * order.uniform(0.05, 0.5)))
            consumer.kill()
        stored = plant.stored()
        if stored >= plant.manifest.sent:
            raise DrillError("the kill came after the last message")
        consumer = plant.consumer()
        recoveries.append(plant.until_more_stored(stored))
    plant.send(messages[kills * size :])
    plant.until_stored()
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = max(recoveries)
    outcome.require(max(recoveries) < 2 * SESSION_S, f"a kill cost {max(recoveries):.1f} s")
    outcome.facts |= {"kills": kills, "recovery_s_each": [round(one, 1) for one in recoveries]}
    return outcome
