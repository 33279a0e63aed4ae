"""The default data set: real daily bars of five stocks, in the Python package ``bokeh_sampledata``.

Belongs here: where its files lie, their checksums, what they do not say (market, currency, name, sector), its
corporate actions. Stays out: reading a table (``tables``), deriving actions (``market.corporate``).

3,270 sessions of AAPL, IBM and MSFT, 2,148 of GOOG and 196 of FB, from 2000-03-01 to 2013-03-01: 12,154 bars. Prices
are raw; the column "Adj Close" is adjusted for splits and dividends and serves the corporate actions alone. The package
is under BSD-3-Clause; it does not state a licence of the prices. Markets are those of the primary listings; both keep
New York's sessions. Names are those of 2013; sectors follow the GICS as of 2018.
"""

import datetime as dt
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from streamlake_assets.errors import ArtifactError, MissingToolError
from streamlake_assets.market.sessions import UTC, session_date
from streamlake_assets.market.types import Bar, CorporateAction, Interval
from streamlake_assets.sources.adjusted import actions_of
from streamlake_assets.sources.mapping import ColumnMapping
from streamlake_assets.sources.rejects import Reject
from streamlake_assets.sources.tables import TableRow, read_table

SOURCE: Final = "bokeh_sampledata"
ROWS: Final = 12_154


class Listing(NamedTuple):
    """One file of the data set and what it does not say about its instrument."""

    symbol: str
    exchange: str
    name: str
    sector: str
    rows: int
    sha256: str


LISTINGS: Final = (
    Listing(
        "AAPL",
        "XNAS",
        "Apple Inc.",
        "Information Technology",
        3270,
        "855f0b122ac0e4c5b9464d1862f6c56bcd2c1cd7eb94db6fa6c798546964dff8",
    ),
    Listing(
        "FB",
        "XNAS",
        "Facebook, Inc.",
        "Communication Services",
        196,
        "85a671cce990c65a466345136ce3e849f6bd0e264a138306728f5dcb5e9e698c",
    ),
    Listing(
        "GOOG",
        "XNAS",
        "Google Inc.",
        "Communication Services",
        2148,
        "69754634a56ad48422ea769734225f00a92d55750052e3e8e3adbca18116f495",
    ),
    Listing(
        "IBM",
        "XNYS",
        "International Business Machines Corporation",
        "Information Technology",
        3270,
        "869438773969350798819547aed0ea16cf9e92ccde84c00069f72c144978d6b1",
    ),
    Listing(
        "MSFT",
        "XNAS",
        "Microsoft Corporation",
        "Information Technology",
        3270,
        "b3d95da3b72a786616c10b196999c5fc2f7e42dc37be0723ae9038a9244f0f82",
    ),
)


class SampleData(NamedTuple):
    """The data set, read and checked.

    ``bars``: 12,154 settled daily bars by (session, symbol). ``adjusted_closes``: by (symbol, session).
    ``actions``: corporate actions by (ex-date, symbol).
    """

    bars: list[Bar]
    adjusted_closes: dict[tuple[str, dt.date], Decimal]
    actions: list[CorporateAction]


def data_folder() -> Path:
    """Return the folder of the package's files.

    Raises:
        MissingToolError: the package is not installed.
    """
    from importlib.util import find_spec

    spec = find_spec("bokeh_sampledata")
    if spec is None or spec.origin is None:
        raise MissingToolError("the package bokeh_sampledata is missing; install it: pip install bokeh-sampledata")
    return Path(spec.origin).parent / "_data"


def column_mapping(listing: Listing) -> ColumnMapping:
    """Return what the columns of one file mean."""
    return ColumnMapping(
        time="Date",
        open="Open",
        high="High",
        low="Low",
        close="Close",
        volume="Volume",
        adjusted_close="Adj Close",
        symbol=listing.symbol,
        exchange=listing.exchange,
        name=listing.name,
        sector=listing.sector,
        currency="USD",
        interval=Interval.D1,
        source=SOURCE,
    )


def load(folder: Path | None = None) -> SampleData:
    """Read the whole data set and derive its corporate actions.

    ``event_time`` is a placeholder until they are published: the epoch for bars, ``as_of`` for actions.

    Args:
        folder: where the files lie; by default inside the package.

    Raises:
        MissingToolError: the package is not installed.
        ArtifactError: a file is missing, is not the pinned one, or has bad rows.
    """
    folder = folder or data_folder()
    rows = [row for listing in LISTINGS for row in _rows(folder, listing)]
    adjusted = {(row.bar.symbol, session_date(row.bar.bar_time, row.bar.exchange)): _adjusted(row) for row in rows}
    bars = sorted((row.bar for row in rows), key=lambda bar: (bar.bar_time, bar.symbol))
    return SampleData(bars, adjusted, actions_of(rows, source=SOURCE))


def _rows(folder: Path, listing: Listing) -> list[TableRow]:
    path = folder / f"{listing.symbol}.csv"
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; install it again: pip install --force-reinstall bokeh-sampledata")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != listing.sha256:
        raise ArtifactError(f"{path} is not the pinned file: its SHA-256 is {found}, expected {listing.sha256}")
    rejects: list[Reject] = []
    placeholder = dt.datetime.fromtimestamp(0, UTC)
    rows = list(read_table(path, column_mapping(listing), now=lambda: placeholder, on_reject=rejects.append))
    if rejects or len(rows) != listing.rows:
        raise ArtifactError(f"{path}: {len(rows)} good and {len(rejects)} bad rows, expected {listing.rows} and none")
    return rows


def _adjusted(row: TableRow) -> Decimal:
    if row.adjusted_close is None:
        raise ArtifactError(f"{row.bar.symbol} {row.bar.bar_time:%Y-%m-%d} has no adjusted close")
    return row.adjusted_close
