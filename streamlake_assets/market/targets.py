"""What is forecast: the two targets of the next session and the baseline each has to beat.

Belongs here: names of targets and what follows from the name alone. Stays out: how they are computed from bars
(``features``), forecasts of them (``forecasts``). Imports no numerical library, so that stores and pages may import it.
"""

from enum import StrEnum


class Target(StrEnum):
    """A quantity of the next session."""

    ADJUSTED_RETURN = "adjusted_return"
    """r = ln(close_t / (close_{t-1} * f)), f the factor of corporate actions; baseline: zero."""

    LOG_RANGE = "log_range"
    """ln(high / low); baseline: its exponentially weighted average."""

    @property
    def baseline_units(self) -> float:
        """The baseline in model units, that is divided by the target's trailing scale.

        The scale of a range is its own weighted average, so the baseline is once the scale.
        """
        return 0.0 if self is Target.ADJUSTED_RETURN else 1.0

    @property
    def has_direction(self) -> bool:
        """Whether the sign means something: a return goes up or down, a range does not."""
        return self is Target.ADJUSTED_RETURN

    def feasible(self, value: float) -> float:
        """Return the nearest value the target can take: a range is never negative."""
        return value if self.has_direction else max(value, 0.0)
