"""A consumer that dies at a named point, for the fault drill: nothing may be lost whatever the moment is.

Belongs here: reading ``STREAMLAKE_CRASH_AT`` and dying. Stays out: what the points mean (``stores.bar_store`` names
``offsets``, ``rows``, ``committed``; the consumer adds ``acknowledge``, after the commit and before Kafka is told).
"""

import os
from typing import Final, Self

VARIABLE: Final = "STREAMLAKE_CRASH_AT"
"""``POINT`` or ``POINT:N``: die when the point is passed for the Nth time, default the first."""
EXIT_CODE: Final = 137


class CrashPoint:
    """Counts down to the end of this process at one point; without a point it does nothing."""

    def __init__(self, point: str = "", times: int = 1) -> None:
        self._point = point
        self._left = times

    @classmethod
    def of_environment(cls) -> Self:
        """Return what the environment asks for."""
        point, _, times = os.environ.get(VARIABLE, "").partition(":")
        return cls(point, int(times or 1))

    def passed(self, point: str) -> None:
        """Die here, as if killed: no handler runs, nothing is flushed or closed."""
        if point != self._point:
            return
        self._left -= 1
        if self._left <= 0:
            os._exit(EXIT_CODE)
