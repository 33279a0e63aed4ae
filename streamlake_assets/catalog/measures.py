"""The measures in DAX: what a selection of the star is worth.

Belongs here: expressions, formats, meanings, and the name of the twin in ``market.measures`` that defines the same in
Python. Stays out: columns (``dimensions``, ``facts``, ``ingest``).

A selection of several instruments is measured as its equal-weight index, rebalanced every session: the mean of their
returns date by date, chained. What is undefined is BLANK, never zero.
"""

from typing import Final

from streamlake_assets.catalog.model import Measure
from streamlake_assets.market.measures import LEAST_PAIRS

_PERCENT = "0.0%"
_DAILY = """VAR daily =
    ADDCOLUMNS ( VALUES ( Dates[Date] ), "@r", CALCULATE ( AVERAGE ( 'Session bars'[Session return] ) ) )
VAR known = FILTER ( daily, NOT ISBLANK ( [@r] ) )"""
_PAIRS = """VAR pairs =
    FILTER (
        ADDCOLUMNS (
            VALUES ( Dates[Date] ),
            "@own", CALCULATE ( AVERAGE ( 'Session bars'[Session return] ) ),
            "@index",
                CALCULATE (
                    AVERAGE ( 'Session bars'[Session return] ),
                    REMOVEFILTERS ( Instruments ),
                    REMOVEFILTERS ( Sectors ),
                    REMOVEFILTERS ( Exchanges )
                )
        ),
        NOT ISBLANK ( [@own] ) && NOT ISBLANK ( [@index] )
    )
VAR own_mean = AVERAGEX ( pairs, [@own] )
VAR index_mean = AVERAGEX ( pairs, [@index] )
VAR together = SUMX ( pairs, ( [@own] - own_mean ) * ( [@index] - index_mean ) )
VAR index_square = SUMX ( pairs, ( [@index] - index_mean ) ^ 2 )"""


def _extreme(order: str) -> str:
    return f"""VAR ranked =
    FILTER ( ADDCOLUMNS ( VALUES ( Instruments[Instrument] ), "@r", [Period return] ), NOT ISBLANK ( [@r] ) )
RETURN
    CONCATENATEX ( TOPN ( 1, ranked, [@r], {order}, Instruments[Instrument], ASC ), Instruments[Instrument] )"""


def _extreme_return(function: str) -> str:
    return f"{function} ( VALUES ( Instruments[Instrument] ), [Period return] )"


SESSION_MEASURES: Final = (
    Measure(
        name="Sessions",
        dax="COUNTROWS ( 'Session bars' )",
        format="#,0",
        meaning="Complete sessions with bars, summed over instruments.",
        unit="sessions",
    ),
    Measure(
        name="Period return",
        dax=f"{_DAILY}\nRETURN\n    IF ( NOT ISEMPTY ( known ), PRODUCTX ( known, 1 + [@r] ) - 1 )",
        format=_PERCENT,
        meaning="What the sessions of the selection earned together, adjusted for splits and dividends.",
        unit="ratio",
        twin="period_return",
    ),
    Measure(
        name="Annualised volatility",
        dax=f"{_DAILY}\nRETURN\n    IF (\n        COUNTROWS ( known ) > 1 && MINX ( known, [@r] ) > -1,\n"
        "        STDEVX.S ( known, LN ( 1 + [@r] ) ) * SQRT ( MAX ( Instruments[Sessions per year] ) )\n    )",
        format=_PERCENT,
        meaning="Sample standard deviation of log returns, times the root of the sessions in a year: 365 where crypto "
        "is among them, else 252.",
        unit="ratio",
        twin="annualised_volatility",
    ),
    Measure(
        name="Max drawdown",
        dax=f"""{_DAILY}
VAR levels =
    ADDCOLUMNS (
        known,
        "@level", VAR this_day = Dates[Date] RETURN PRODUCTX ( FILTER ( known, Dates[Date] <= this_day ), 1 + [@r] )
    )
RETURN
    IF (
        NOT ISEMPTY ( known ),
        MINX (
            levels,
            VAR this_day = Dates[Date]
            VAR peak = MAX ( 1, MAXX ( FILTER ( levels, Dates[Date] <= this_day ), [@level] ) )
            RETURN [@level] / peak - 1
        )
    )""",
        format=_PERCENT,
        meaning="Deepest fall below the highest value since the start of the selection; zero where there was none.",
        unit="ratio",
        twin="max_drawdown",
    ),
    Measure(
        name="Dollar volume",
        dax="SUM ( 'Session bars'[Traded value] )",
        format="#,0",
        meaning="Sum of close * volume; over several currencies it has no meaning.",
        unit="quote currency",
        twin="dollar_volume",
    ),
    Measure(
        name="VWAP",
        dax="VAR shares = SUM ( 'Session bars'[Volume] )\nRETURN\n    IF (\n"
        "        HASONEVALUE ( Instruments[Instrument] ) && shares > 0,\n"
        "        DIVIDE ( SUMX ( 'Session bars', 'Session bars'[Typical price] * 'Session bars'[Volume] ), shares )\n"
        "    )",
        format="#,0.00",
        meaning="Volume-weighted mean of typical prices of one instrument, raw: over a split it mixes prices before "
        "and after.",
        unit="quote currency",
        twin="vwap",
    ),
    Measure(
        name="Last close",
        dax="VAR last_day = MAX ( 'Session bars'[Session date] )\nRETURN\n    IF (\n"
        "        HASONEVALUE ( Instruments[Instrument] ),\n"
        "        CALCULATE ( MAX ( 'Session bars'[Close] ), 'Session bars'[Session date] = last_day )\n    )",
        format="#,0.00",
        meaning="Raw close of the newest selected session of one instrument.",
        unit="quote currency",
    ),
    Measure(
        name="Index to 100",
        dax="VAR first_day = MINX ( ALLSELECTED ( Dates[Date] ), Dates[Date] )\nVAR last_day = MAX ( Dates[Date] )\n"
        "VAR earned = CALCULATE ( [Period return], DATESBETWEEN ( Dates[Date], first_day, last_day ) )\nRETURN\n"
        "    IF ( NOT ISBLANK ( [Sessions] ) && NOT ISBLANK ( earned ), 100 * ( 1 + earned ) )",
        format="0.0",
        meaning="Value of the selection on each date when it was 100 before the first.",
        unit="index points",
    ),
    Measure(
        name="Beta",
        dax=f"{_PAIRS}\nRETURN\n    IF ( COUNTROWS ( pairs ) >= {LEAST_PAIRS}, DIVIDE ( together, index_square ) )",
        format="0.00",
        meaning="Covariance with the equal-weight index of all instruments over the variance of that index.",
        twin="beta",
    ),
    Measure(
        name="Correlation",
        dax=f"{_PAIRS}\nVAR own_square = SUMX ( pairs, ( [@own] - own_mean ) ^ 2 )\nRETURN\n"
        f"    IF ( COUNTROWS ( pairs ) >= {LEAST_PAIRS}, "
        "DIVIDE ( together, SQRT ( own_square * index_square ) ) )",
        format="0.00",
        meaning="Correlation with the equal-weight index of all instruments, -1 to 1.",
        twin="correlation",
    ),
    Measure(
        name="Best instrument",
        dax=_extreme("DESC"),
        format="",
        meaning="Instrument of the highest return; of equals the first by name.",
        twin="best_and_worst",
    ),
    Measure(
        name="Best return",
        dax=_extreme_return("MAXX"),
        format=_PERCENT,
        meaning="Highest return of an instrument.",
        unit="ratio",
        twin="best_and_worst",
    ),
    Measure(
        name="Worst instrument",
        dax=_extreme("ASC"),
        format="",
        meaning="Instrument of the lowest return; of equals the first by name.",
        twin="best_and_worst",
    ),
    Measure(
        name="Worst return",
        dax=_extreme_return("MINX"),
        format=_PERCENT,
        meaning="Lowest return of an instrument.",
        unit="ratio",
        twin="best_and_worst",
    ),
    Measure(
        name="Sessions due",
        dax="COUNTROWS ( 'Expected sessions' )",
        format="#,0",
        meaning="Sessions that the calendars say there were, summed over instruments.",
        unit="sessions",
    ),
    Measure(
        name="Completeness",
        dax="IF ( NOT ISBLANK ( [Sessions due] ), DIVIDE ( SUM ( 'Session bars'[In calendar] ) + 0, [Sessions due] ) )",
        format="0.00%",
        meaning="Share of the sessions due that have a bar; a bar on a day without session does not count.",
        unit="ratio",
        twin="completeness",
    ),
    Measure(
        name="Synthetic share",
        dax="DIVIDE ( SUM ( 'Session bars'[Is synthetic] ), [Sessions] )",
        format=_PERCENT,
        meaning="Share of sessions with bars that were made instead of traded.",
        unit="ratio",
    ),
)

FORECAST_MEASURES: Final = (
    Measure(
        name="Forecasts issued",
        dax="COUNTROWS ( Forecasts )",
        format="#,0",
        meaning="Forecasts in the ledger.",
        unit="forecasts",
    ),
    Measure(
        name="Forecasts scored",
        dax="COUNT ( Forecasts[Realised] )",
        format="#,0",
        meaning="Forecasts whose session has settled and that were not late.",
        unit="forecasts",
    ),
    Measure(
        name="Forecasts late",
        dax="SUM ( Forecasts[Is late] )",
        format="#,0",
        meaning="Forecasts that came after a bar of their session: never scored.",
        unit="forecasts",
    ),
    Measure(
        name="Skill",
        dax="VAR of_baseline = SUM ( Forecasts[Baseline squared error] )\nRETURN\n    IF (\n"
        "        HASONEVALUE ( Forecasts[Target] ) && of_baseline > 0,\n"
        "        1 - SUM ( Forecasts[Squared error] ) / of_baseline\n    )",
        format="0.00%",
        meaning="1 less squared error over that of the baseline, of one target: above zero is better than the "
        "baseline. It has no interval here; the gate, which has one, decides.",
        unit="ratio",
        twin="live_skill",
    ),
    Measure(
        name="Hit rate",
        dax="DIVIDE ( SUM ( Forecasts[Direction hit] ), COUNT ( Forecasts[Direction hit] ) )",
        format=_PERCENT,
        meaning="Share of right signs, of the forecasts where forecast and truth both have one.",
        unit="ratio",
        twin="hit_rate",
    ),
    Measure(
        name="Base rate",
        dax="VAR up = DIVIDE ( SUM ( Forecasts[Realised up] ), COUNT ( Forecasts[Realised up] ) )\nRETURN\n"
        "    IF ( NOT ISBLANK ( up ), MAX ( up, 1 - up ) )",
        format=_PERCENT,
        meaning="Share of the commoner sign among the same forecasts: what saying it every time would hit.",
        unit="ratio",
        twin="hit_rate",
    ),
    Measure(
        name="Hit rate over base rate",
        dax="IF ( NOT ISBLANK ( [Hit rate] ), [Hit rate] - [Base rate] )",
        format="+0.0%;-0.0%;0.0%",
        meaning="Hit rate less base rate; above zero the signs say something.",
        unit="ratio",
        twin="hit_rate",
    ),
    Measure(
        name="Interval coverage",
        dax="DIVIDE ( SUM ( Forecasts[Is covered] ), COUNT ( Forecasts[Is covered] ) )",
        format=_PERCENT,
        meaning="Share of scored forecasts whose interval held the truth.",
        unit="ratio",
        twin="interval_coverage",
    ),
    Measure(
        name="Coverage promised",
        dax="AVERAGE ( Forecasts[Promised coverage] )",
        format=_PERCENT,
        meaning="Share the intervals should hold.",
        unit="ratio",
    ),
)

INGEST_MEASURES: Final = (
    Measure(
        name="Messages read",
        dax="SUM ( 'Ingest quality'[Messages] )",
        format="#,0",
        meaning="Messages of all topics.",
        unit="messages",
    ),
    Measure(
        name="Messages dead",
        dax="SUM ( 'Ingest quality'[Dead] )",
        format="#,0",
        meaning="Messages that broke the contract.",
        unit="messages",
    ),
    Measure(
        name="Dead-letter rate",
        dax="DIVIDE ( [Messages dead], [Messages read] )",
        format="0.00%",
        meaning="Share of messages that broke the contract.",
        unit="ratio",
        twin="dead_letter_rate",
    ),
)

REFUSAL_MEASURES: Final = (
    Measure(
        name="Letters",
        dax="SUM ( 'Dead letters'[Number of letters] )",
        format="#,0",
        meaning="Dead letters, whatever became of them.",
        unit="messages",
    ),
    Measure(
        name="Letters open",
        dax="CALCULATE ( [Letters], 'Dead letters'[Resolution] = \"open\" )",
        format="#,0",
        meaning="Dead letters nobody has decided on.",
        unit="messages",
    ),
)
