"""The command line of the made market and of anomalies: ``streamlake simulate`` and ``streamlake detect``.

Belongs here: options, words, exit codes; ``register`` puts the commands under ``streamlake``. Stays out: what they do
(``simulate``, ``detect``), loaded only when one is called.
"""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from streamlake_assets.commands.terminal import Json, emit, line, named, progress, settings_in_force, table
from streamlake_assets.errors import UsageError

TARGETS = ("kafka", "file")


def register(app: typer.Typer) -> None:
    """Put the commands under the main command."""
    app.command()(simulate)
    app.command()(detect)


def simulate(
    instruments: Annotated[int, typer.Option(help="How many.")] = 50,
    interval: Annotated[str, typer.Option(help="1m, 5m, 15m, 30m, 60m or 1d.")] = "1m",
    sessions: Annotated[int, typer.Option(help="How many, on the exchange's calendar.")] = 20,
    first: Annotated[
        dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="No session is before this day.")
    ] = dt.datetime(2024, 1, 2),  # noqa: DTZ001
    exchange: Annotated[str, typer.Option(help="ISO 10383 code, such as XNYS.")] = "XNYS",
    asset_class: Annotated[str, typer.Option(help="stock, crypto, commodity, index or fx.")] = "stock",
    volatility: Annotated[float, typer.Option(help="Standard deviation of a session's log return.")] = 0.016,
    ic: Annotated[float, typer.Option(help="Planted correlation of a session's return with the next one's.")] = 0.0,
    range_ic: Annotated[float, typer.Option(help="Planted correlation of the volume with the next log range.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 0,
    faults: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="YAML file: which faults, and how many.")
    ] = None,
    to: Annotated[str, typer.Option(help="kafka or file.")] = "file",
    out: Annotated[Path, typer.Option(help="CSV file; with --to kafka only the manifest is beside it.")] = Path(
        "simulated.csv"
    ),
    rate: Annotated[str, typer.Option(help="Bars in a second, or max; with --to kafka.")] = "max",
    wait: Annotated[bool, typer.Option(help="With --to kafka: wait until the consumer has stored everything.")] = True,
    as_json: Json = False,
) -> None:
    """Make a market whose truth is known, with planted signals and faults, as a file or onto the topics.

    Faults are written to OUT.faults.jsonl; `streamlake detect --manifest` tells how many of them are found.
    """
    from streamlake_assets.commands.simulate import simulate_to_file, simulate_to_kafka
    from streamlake_assets.market.types import AssetClass, Interval
    from streamlake_assets.sources.planted_faults import read_plan
    from streamlake_assets.sources.simulated_market import MarketSpec

    if to not in TARGETS:
        raise UsageError(f"--to {to}: {' or '.join(TARGETS)}")
    spec = MarketSpec(
        instruments=instruments,
        interval=named(Interval, "--interval", interval),
        sessions=sessions,
        first=first.date(),
        exchange=exchange,
        asset_class=named(AssetClass, "--asset-class", asset_class),
        volatility=volatility,
        ic=ic,
        range_ic=range_ic,
        seed=seed,
    )
    plan = None if faults is None else read_plan(faults)
    if to == "file":
        done = simulate_to_file(spec, plan, out, progress())
    else:
        manifest = out.with_name(f"{out.name}.faults.jsonl")
        done = simulate_to_kafka(settings_in_force(), spec, plan, _rate(rate), manifest, wait, progress())
    if as_json:
        emit(done)
        return
    where = f"in {done['file']}" if to == "file" else "stored" if done["stored"] else "sent"
    line(f"{done['bars']:,} bars {where} in {done['seconds']:.1f} s ({done['bars'] / done['seconds']:,.0f} a second)")
    for name, count in done["faults"].items():
        line(f"  {name}: {count:,}")
    if done["manifest"]:
        line(f"planted faults: {done['manifest']}")


def detect(
    manifest: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Planted faults, as `simulate` writes them.")
    ] = None,
    sessions: Annotated[int | None, typer.Option(min=1, help="Only the newest so many of each series.")] = None,
    show: Annotated[int, typer.Option("-n", min=0, help="Anomalies to list.")] = 20,
    as_json: Json = False,
) -> None:
    """Look for gaps, jumps, feeds that hang and late bars in the tables; with a manifest, count what was found.

    Exit 1 when there are anomalies and no manifest that tells what to expect.
    """
    from streamlake_assets.commands.detect import detect_anomalies

    found = detect_anomalies(settings_in_force(), manifest, sessions, show, progress())
    if as_json:
        emit(found)
    else:
        line(f"{found['bars']:,} bars; {found['same']:,} messages of known bars; {found['dead']:,} dead letters")
        for kind, count in found["anomalies"].items():
            line(f"  {kind}: {count:,}")
        for one in found["first"]:
            line(f"{one['kind']}: {one['symbol']} {one['interval']} {one['bar_time']}: {one['detail']}")
        if found["scores"]:
            names = ("fault", "planted", "found", "recall", "false_alarms", "false_alarm_rate")
            rows = ([_shown(score[name]) for name in names] for score in found["scores"])
            table("Planted faults", names, rows)
    raise typer.Exit(1 if found["first"] and manifest is None else 0)


def _shown(value: object) -> object:
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _rate(text: str) -> float | None:
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1_000_000:
        raise UsageError(f"--rate {text}: bars in a second, at most 1,000,000, or max")
    return rate
