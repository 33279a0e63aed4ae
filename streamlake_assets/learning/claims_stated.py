"""What other stock-forecasting systems say of themselves, what is wrong with it, and where the mistake must lead.

Belongs here: systems, claims and reported figures as plain data, read by whoever measures or shows them. Stays out:
everything measured (``claims``). Imports no numerical library. What is called reported stands in the system's own
report; where that gives no figure, none is made up.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

SYSTEMS: Final = {
    "Kappa": "one stream from a market-data API over Kafka to Elasticsearch, and three regressions on daily bars",
    "FinanceLake": "a lakehouse of Kafka, Spark Structured Streaming and Delta, and a random forest of Spark MLlib",
    "Factory-2": "a daily forecast service over managed Kafka with a walk-forward ARIMA",
}


class Fit(NamedTuple):
    """R2 and mean squared error of one estimator on its test rows."""

    r2: float
    mse: float


@dataclass(frozen=True)
class Statement:
    """What a system says and what is wrong with it; ``band`` is where the reproduced figure must lie.

    ``reported`` is None where the report gives no figure. ``how`` is the mistake, ``why`` what the figure then means;
    ``honest_question`` is what the honest figure answers instead.
    """

    id: str
    system: str
    claim: str
    how: str
    measure: str
    reported: float | None
    band: tuple[float, float]
    honest_question: str
    why: str


STATEMENTS: Final = (
    Statement(
        id="duplicates",
        system="Kappa",
        claim="A random forest tells the close from the volume alone: R2 0.9823.",
        how="Bars indexed again on each run under new ids, then a random split: copies of a bar fall on both sides. "
        "Inferred: its three figures come together only with copies.",
        measure="R2 of the close, each bar five times, random 80/20 split",
        reported=0.9823,
        band=(0.9, 1.0),
        honest_question="the same forest, next session's return from the volume known before",
        why="A forest that was shown a copy of the tested bar recalls its close: the score counts copies, not skill.",
    ),
    Statement(
        id="off_by_one",
        system="Factory-2",
        claim="ARIMA(1,1,0), walk-forward, was kept for its low MSE; the report gives no figure.",
        how="The close of a step joins the history before that step is forecast, and the forecast is held against it.",
        measure="R2 of the close, as the forecasts are stored",
        reported=None,
        band=(0.99, 1.0),
        honest_question="the same ARIMA(1,1,0), its forecast frozen before the close is known, as a return",
        why="The error of a forecast that has seen the answer is phi times one step; aligned, that of the last price.",
    ),
    Statement(
        id="price_level",
        system="FinanceLake",
        claim="A random forest forecasts prices with R2 0.905, called precision.",
        how="The forecast is scored as a price level, whose variance is that of the whole test period.",
        measure="R2 of the close, forecast by the close before; last fifth",
        reported=0.905,
        band=(0.7, 1.0),
        honest_question="a forest with MLlib's defaults, next session's return from past returns",
        why="Repeating the last price scores as high and knows nothing: over it, that forecast's skill is zero.",
    ),
    Statement(
        id="same_bar",
        system="Kappa",
        claim="Open, high and low as further inputs would help: proposed, without a figure.",
        how="Open, high and low of the same bar are asked for its close.",
        measure="R2 of the close from open, high and low of its bar, random 80/20 split",
        reported=None,
        band=(0.98, 1.0),
        honest_question="a linear regression, next session's return from return, gap and range of the bar before",
        why="High and low are known only when the bar is over, and so is the close: nothing is left to forecast.",
    ),
)

KAPPA_REPORTED: Final = {
    "linear": Fit(0.0331, 512.77),
    "forest": Fit(0.9823, 9.364),
    "boosting": Fit(0.4019, 317.16),
}
"""Kappa's three regressions of the close on the volume, as it reports them."""


def statement(claim: str) -> Statement:
    """Return the statement of a claim by its id."""
    return next(one for one in STATEMENTS if one.id == claim)
