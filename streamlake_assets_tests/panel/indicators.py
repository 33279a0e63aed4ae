"""Lines of key indicators as the page shows them, measured from series."""

from collections.abc import Iterable

from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import Grouping, IndicatorLine, Market
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.stores.page_measures import Described


def indicator_lines(
    series: Iterable[SessionSeries], known: Iterable[Described], grouping: Grouping, kind: PeriodKind, name: str
) -> tuple[IndicatorLine, ...]:
    market = Market(series, {one.instrument: one.sector for one in known})
    found = next((period for period in market.periods(kind) if period.name == name), None)
    return () if found is None else market.lines(grouping, found)


def period_names(series: Iterable[SessionSeries], kind: PeriodKind) -> tuple[str, ...]:
    return tuple(period.name for period in Market(series, {}).periods(kind))
