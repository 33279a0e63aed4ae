"""The command line of providers: ``streamlake fetch``.

Belongs here: options, words, exit codes; ``register`` puts the command under ``streamlake``. Stays out: what it does
(``fetch``), loaded only when it is called.
"""

import datetime as dt
from typing import Annotated

import typer

from streamlake_assets.commands.terminal import Json, emit, line, named, progress, settings_in_force
from streamlake_assets.errors import UsageError


def register(app: typer.Typer) -> None:
    """Put the command under the main command."""
    app.command()(fetch)


def fetch(
    provider: Annotated[str, typer.Argument(help="massive or alpha-vantage.")],
    symbols: Annotated[list[str], typer.Argument(help="Such as AAPL MSFT.")],
    first: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")],
    last: Annotated[dt.datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.")],
    interval: Annotated[str, typer.Option(help="1m, 5m, 15m, 30m, 60m or 1d.")] = "1d",
    exchange: Annotated[str, typer.Option(help="ISO 10383 code of the instruments' exchange.")] = "XNYS",
    asset_class: Annotated[str, typer.Option(help="stock, crypto, commodity, index or fx.")] = "stock",
    all_hours: Annotated[bool, typer.Option("--all-hours", help="Keep bars outside the exchange's sessions.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the consumer has stored everything.")] = True,
    as_json: Json = False,
) -> None:
    """Fetch raw bars, and splits and dividends where the provider has them, onto the topics.

    The key comes from STREAMLAKE_MASSIVE_KEY or STREAMLAKE_ALPHA_VANTAGE_KEY. Exit 1 when sessions of the range did not
    come: some plans cut a range short and say nothing.
    """
    from streamlake_assets.commands.fetch import Wanted, fetch_to_kafka
    from streamlake_assets.market.types import AssetClass, Interval

    if last < first:
        raise UsageError(f"--to {last:%Y-%m-%d} lies before --from {first:%Y-%m-%d}")
    wanted = Wanted(
        [symbol.upper() for symbol in symbols],
        exchange,
        named(AssetClass, "--asset-class", asset_class),
        named(Interval, "--interval", interval),
        first.date(),
        last.date(),
        all_hours,
    )
    done = fetch_to_kafka(settings_in_force(), provider, wanted, wait, progress())
    if as_json:
        emit(done)
    else:
        for one in done["symbols"]:
            line(f"{one['symbol']}: {one['bars']:,} bars, {one['actions']} corporate actions; {one['coverage']}")
            for reason, count in one["rejected"].items():
                line(f"  refused, {reason}: {count:,}")
            if one["outside_hours"]:
                line(f"  outside the exchange's sessions, left out: {one['outside_hours']:,}")
            if one["dividends_without_close"]:
                line(f"  dividends without a close before them, left out: {one['dividends_without_close']}")
    raise typer.Exit(0 if done["complete"] else 1)
