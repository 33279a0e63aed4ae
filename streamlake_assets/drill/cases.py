"""The faults of the matrix as the drill knows them: a decorator that makes one out of a function, and their list.

Belongs here: what a fault is. Stays out: the faults themselves, each theme in a module of its own, named in ``THEMES``.

Use::

    @fault(row=11, title="malformed messages", injected="on the topic", fast=True)
    def malformed(plant: Plant) -> Outcome:
        plant.send([bad_sending(b"AAPL", b"{")])
        plant.consumer()
        plant.until_stored()
        return plant.check()

The plant is empty when a case begins, and what the case started is ended after it. A case that cannot see that its
fault was injected calls ``Outcome.require`` or raises ``DrillError``: a fault that did not happen proves nothing.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from streamlake_assets.drill.checker import Outcome
from streamlake_assets.drill.plant import Plant

THEMES = ("kills", "outages", "groups", "order", "broker_faults", "database", "bad_input", "contract_edges")


@dataclass(frozen=True)
class Fault:
    """One row of the fault matrix.

    Attributes:
        row: its number in the matrix; several cases may share one.
        title: what happens.
        injected: where it is made to happen.
        run: does it, and returns what came of it.
        fast: whether its short form belongs to the tests of every day.
    """

    row: int
    title: str
    injected: str
    run: Callable[[Plant], Outcome]
    fast: bool = False


def fault(row: int, title: str, injected: str, fast: bool = False) -> Callable[[Callable[[Plant], Outcome]], Fault]:
    """Make a fault out of a function."""

    def made(run: Callable[[Plant], Outcome]) -> Fault:
        return Fault(row, title, injected, run, fast)

    return made


def all_faults() -> list[Fault]:
    """Return every fault of every theme, in the order of the matrix."""
    modules = [importlib.import_module(f"streamlake_assets.drill.{theme}") for theme in THEMES]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Fault)]
    return sorted(found, key=lambda one: one.row)
