"""What a family of hostile messages is: a name, the reasons that fit, and a seeded way to make one.

Belongs here: the records and the register. Stays out: the families (``hostile_bytes``, ``hostile_fields``),
drawing from
from them (``hostile``).
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from streamlake_assets.drill.drafts import Draft, action_draft, bar_draft, flat_draft

DRAFTS_KEY: Final = b"\0 the key of the draft"
_POOL: Final = 400


class Hostile(NamedTuple):
    """One message that breaks the contract, by construction.

    ``reasons`` are the codes the contract leaves to choose from: one where one rule is broken, more where several are.
    """

    family: str
    topic: str
    key: bytes | None
    value: bytes | None
    reasons: frozenset[str]


class Wrong(NamedTuple):
    """What a family makes: a message, and its reason where the family has several."""

    draft: Draft
    value: bytes | None
    reason: str = ""
    key: bytes | None = DRAFTS_KEY


class Sketch:
    """What a family draws from: a seeded source of chance, and valid messages of a broker's time, made once."""

    def __init__(self, rng: Random, now: dt.datetime) -> None:
        self.rng = rng
        self.now = now
        self._bars = [bar_draft(rng, now) for _ in range(_POOL)]
        self._flats = [flat_draft(rng, now) for _ in range(_POOL)]
        self._actions = [action_draft(rng, now) for _ in range(_POOL)]

    def any(self) -> Draft:
        """Return a valid message of any kind; most are bars of version 1."""
        return self.rng.choice(self.rng.choices([self._bars, self._flats, self._actions], cum_weights=[6, 8, 10])[0])

    def bar(self, **fixed: str) -> Draft:
        """Return a valid bar of version 1."""
        return bar_draft(self.rng, self.now, **fixed) if fixed else self.rng.choice(self._bars)

    def flat(self) -> Draft:
        """Return a valid bar of version 0."""
        return self.rng.choice(self._flats)

    def action(self) -> Draft:
        """Return a valid corporate action."""
        return self.rng.choice(self._actions)


@dataclass(frozen=True)
class Family:
    """Hostile messages of one kind; ``weight`` says how often it is drawn beside the others."""

    name: str
    reasons: frozenset[str]
    weight: int
    make: Callable[[Sketch], Wrong]

    def draw(self, sketch: Sketch) -> Hostile:
        """Return one message of the family."""
        wrong = self.make(sketch)
        key = wrong.draft.key if wrong.key is DRAFTS_KEY else wrong.key
        reasons = frozenset({wrong.reason}) if wrong.reason else self.reasons
        return Hostile(self.name, wrong.draft.topic, key, wrong.value, reasons)


class Register:
    """Families by name, in the order they were written; calling it makes a decorator."""

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}

    def __call__(
        self, *reasons: str, weight: int = 10
    ) -> Callable[[Callable[[Sketch], Wrong]], Callable[[Sketch], Wrong]]:
        """Make a family of a function; its name is the family's."""

        def add(make: Callable[[Sketch], Wrong]) -> Callable[[Sketch], Wrong]:
            self.families[make.__name__] = Family(make.__name__, frozenset(reasons), weight, make)
            return make

        return add
