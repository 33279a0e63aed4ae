"""What a case is, and the record of one run of it.

Belongs here: the shape that ``rounds`` runs and ``report`` reads. Stays out: what is measured (the case's own module).
"""

from typing import Any, Protocol

import msgspec

from benchmarks.rig import Rig


class Run(msgspec.Struct, kw_only=True):
    """One measured run; ``cpu_s`` and ``peak_mib`` by side: client, mysql, broker, jvm."""

    rows: int
    seconds: float
    whole_s: float | None = None
    cpu_s: dict[str, float] = {}
    peak_mib: dict[str, float] = {}
    extra: dict[str, Any] = {}

    @property
    def rate(self) -> float:
        """Rows in a second."""
        return self.rows / self.seconds


class Case(Protocol):
    """One thing to measure. ``setup`` and ``close`` run once, ``run`` and ``check`` in every round."""

    name: str

    def setup(self, rig: Rig) -> None:
        """Do what is not measured.

        Raises:
            NotRunError: it cannot be had here.
        """

    def run(self, rig: Rig) -> Run:
        """Empty what must be empty and measure once."""

    def check(self, rig: Rig) -> None:
        """Compare the tables with what was sent.

        Raises:
            WrongRunError: they differ.
        """

    def close(self) -> None:
        """End what ``setup`` started."""


class NotRunError(Exception):
    """A case cannot run here; its reason stands in the report."""
