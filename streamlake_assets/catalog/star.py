"""The star schema of streamlake: the one source of views, data dictionary, Power BI model and frame contracts.

Belongs here: which tables there are, in the order in which their views can be made, and how they belong together. Stays
out: the tables themselves (``dimensions``, ``facts``, ``ingest``).
"""

from typing import Final

from streamlake_assets.catalog.dimensions import DATES, EXCHANGES, INSTRUMENTS, SECTORS, SOURCES
from streamlake_assets.catalog.facts import EXPECTED_SESSIONS, FORECASTS, SESSION_BARS
from streamlake_assets.catalog.ingest import DEAD_LETTERS, INGEST_QUALITY
from streamlake_assets.catalog.model import Catalog, Relationship

STAR: Final = Catalog(
    tables=(
        DATES,
        SECTORS,
        EXCHANGES,
        SOURCES,
        INSTRUMENTS,
        SESSION_BARS,
        EXPECTED_SESSIONS,
        FORECASTS,
        INGEST_QUALITY,
        DEAD_LETTERS,
    ),
    relationships=(
        Relationship("bi_instruments", "sector_id", "bi_sectors", "sector_id"),
        Relationship("bi_instruments", "exchange_id", "bi_exchanges", "exchange_id"),
        Relationship("bi_session_bars", "session_date", "bi_dates", "calendar_date"),
        Relationship("bi_session_bars", "instrument_id", "bi_instruments", "instrument_id"),
        Relationship("bi_session_bars", "source_id", "bi_sources", "source_id"),
        Relationship("bi_expected_sessions", "session_date", "bi_dates", "calendar_date"),
        Relationship("bi_expected_sessions", "instrument_id", "bi_instruments", "instrument_id"),
        Relationship("bi_forecasts", "target_session", "bi_dates", "calendar_date"),
        Relationship("bi_forecasts", "instrument_id", "bi_instruments", "instrument_id"),
    ),
)
