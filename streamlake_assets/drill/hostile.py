"""Hostile messages, drawn from all families by a seed: the same seed and time give the same messages.

Each breaks the contract by construction: a valid message is changed so that at least one rule of ``docs/contract.md``
cannot hold,
whatever decodes it. A change that might leave it valid has no family. Belongs here: the list of families and
drawing from it. Stays out: the families (``hostile_bytes``, ``hostile_fields``), what is done with the messages.
"""

import datetime as dt
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Final

from streamlake_assets.drill.family import Family, Hostile, Sketch
from streamlake_assets.drill.hostile_bytes import BYTE_FAMILIES
from streamlake_assets.drill.hostile_fields import FIELD_FAMILIES

FAMILIES: Final[dict[str, Family]] = {**BYTE_FAMILIES.families, **FIELD_FAMILIES.families}


def hostile(count: int, seed: int, now: dt.datetime) -> Iterator[Hostile]:
    """Yield hostile messages: one of each family first, then at random by weight.

    Args:
        count: how many.
        seed: the same seed gives the same messages.
        now: the broker's time when they are written, or up to an hour before it.
    """
    rng = Random(seed)  # noqa: S311 - chance that can be repeated is the point
    sketch = Sketch(rng, now)
    families = list(FAMILIES.values())
    weights = list(accumulate(family.weight for family in families))
    first = rng.sample(families, len(families))
    for number in range(count):
        family = first[number] if number < len(first) else rng.choices(families, cum_weights=weights)[0]
        yield family.draw(sketch)
