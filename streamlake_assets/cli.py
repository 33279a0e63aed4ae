"""The ``streamlake`` command: options, tables and exit codes; what the commands do lies in ``commands``.

Heavy modules load inside the command that needs them, so that ``streamlake --help`` answers at once.
"""

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from streamlake_assets.errors import StreamlakeError, UsageError
from streamlake_assets.settings import Settings, load_settings

EXIT_CODES = """
Exit codes: 0 done · 1 something did not hold · 2 a setting, argument or file is wrong, or streamlake already runs ·
3 a program or download is missing · 4 a server did not start · 5 a bad record · 6 a server is not available now ·
7 stored state contradicts the stream
"""

app = typer.Typer(
    name="streamlake",
    help="Streaming market data: Kafka to MySQL, documents, models, honest forecasts.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console()
err = Console(stderr=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="FIELD=NAME: the file's name of a column; repeat as needed.")
]
Symbol = Annotated[str | None, typer.Option(help="Symbol of all rows, for a file without a symbol column.")]
IntervalOption = Annotated[str | None, typer.Option("--interval", help="1m, 5m, 15m, 30m, 60m or 1d.")]
Zone = Annotated[str | None, typer.Option(help="Time zone of times without one, such as America/New_York.")]
Exchange = Annotated[str | None, typer.Option(help="ISO 10383 code of the market, such as XNYS.")]
AssetClassOption = Annotated[str | None, typer.Option("--asset-class", help="stock, crypto, commodity, index or fx.")]
DateFormat = Annotated[str | None, typer.Option(help="strptime format of the times, such as %d.%m.%Y.")]
Decimals = Annotated[int | None, typer.Option(help="Round prices to so many decimals, for files with float noise.")]


def main() -> NoReturn:
    """Run the command line; errors become one line and their exit code."""
    try:
        app(standalone_mode=False)
    except StreamlakeError as error:
        err.print(f"[bold red]error[/bold red] {error}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        # click's usage errors show themselves; anything else is a fault of this program and keeps its traceback
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(0)


def _settings() -> Settings:
    from pydantic import ValidationError

    try:
        return load_settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"STREAMLAKE_{'_'.join(map(str, first['loc'])).upper()}"
        raise UsageError(f"{name}: {first['msg']}") from None


def _say() -> Callable[[str], None]:
    start = time.monotonic()

    def say(line: str) -> None:
        err.print(f"[dim]{time.monotonic() - start:6.1f} s[/dim]  {line}", soft_wrap=True)

    return say


def _emit(value: Any) -> None:
    typer.echo(json.dumps(msgspec.to_builtins(value, enc_hook=str), default=str))


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    out.print(table)


def _mapping(**options: Any) -> dict[str, Any]:
    from streamlake_assets.sources.mapping import column_overrides

    columns = column_overrides(options.pop("column") or [])
    return {**columns, **{name: value for name, value in options.items() if value is not None}}


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the summary instead of staying up.")] = False,
    speed: Annotated[float | None, typer.Option(min=0.01, help="Live sessions per second; --once: no pauses.")] = None,
    as_json: Json = False,
) -> None:
    """Run the whole chain on real servers and 12,154 real bars, then stay up until Ctrl-C."""
    from streamlake_assets.commands.demo import run_demo
    from streamlake_assets.commands.summary import print_summary
    from streamlake_assets.commands.supervise import urls as addresses

    settings = _settings()
    found = addresses(settings)
    shown = {} if once else {name: found[name] for name in ("dagster", "panel")}
    ok = run_demo(
        settings,
        _say(),
        once,
        speed if once or speed is not None else 1.0,
        lambda summary: _emit(summary) if as_json else print_summary(out, summary, shown),
    )
    raise typer.Exit(0 if ok else 1)


@app.command()
def up() -> None:
    """Run servers, consumer, Dagster and Panel in the foreground until Ctrl-C."""
    from streamlake_assets.commands import data, supervise

    settings = _settings()
    say = _say()

    def ready() -> None:
        for name in ("dagster", "panel"):
            say(f"{name}: {supervise.urls(settings)[name]}")
        say("Ctrl-C stops everything")

    supervise.up(settings, say, lambda: say(f"schema and topics: {data.prepare(settings)}"), ready)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop what runs in this folder."""
    from streamlake_assets.commands.supervise import down as stop

    done = stop(_settings(), _say())
    if as_json:
        _emit(done)
    elif done["stopped"] is None and not done["ended"]:
        out.print("nothing runs in this folder")


@app.command()
def status(as_json: Json = False) -> None:
    """Show what runs, where, and whether it answers."""
    from streamlake_assets.commands.supervise import status as read_status

    found = read_status(_settings())
    if as_json:
        _emit(found)
        return
    names = ("name", "condition", "answers", "what", "version", "address", "pid", "restarts")
    supervisor = found["supervisor"]
    title = f"{found['home']}: " + (f"supervised by pid {supervisor}" if supervisor else "nothing runs")
    _table(title, names, ([service.get(name) for name in names] for service in found["services"]))


@app.command()
def urls(
    as_json: Json = False,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Print passwords.")] = False,
) -> None:
    """Print the addresses of everything; passwords are masked."""
    from streamlake_assets.commands.supervise import urls as addresses

    found = addresses(_settings(), show_secrets)
    if as_json:
        _emit(found)
        return
    for name, url in found.items():
        out.print(f"{name:<17} {url}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="kafka, mysql, documents, consumer, panel, dagster-webserver, …")],
    lines: Annotated[int, typer.Option("-n", min=1, help="Number of lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is added.")] = False,
) -> None:
    """Print the end of a process's log."""
    from streamlake_assets.commands.supervise import logs as read_logs

    for line in read_logs(_settings(), name, lines, follow):
        typer.echo(line)


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, CSV.gz or Parquet file of bars.")],
    column: Columns = None,
    symbol: Symbol = None,
    interval: IntervalOption = None,
    zone: Zone = None,
    exchange: Exchange = None,
    asset_class: AssetClassOption = None,
    date_format: DateFormat = None,
    decimals: Decimals = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row, publish nothing.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where bad rows go; default: FILE.rejects.csv")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the consumer has stored everything.")] = True,
    as_json: Json = False,
) -> None:
    """Publish a file of bars of your own; `validate` shows first what would happen."""
    from streamlake_assets.commands.data import replay_file

    options = _mapping(
        column=column,
        symbol=symbol,
        interval=interval,
        zone=zone,
        exchange=exchange,
        asset_class=asset_class,
        date_format=date_format,
        decimals=decimals,
    )
    done = replay_file(_settings(), path, options, strict, rejects, wait)
    if as_json:
        _emit(done)
        return
    state = "stored" if done["stored"] else "sent"
    out.print(f"{done['bars_sent']:,} bars and {done['actions_sent']} corporate actions {state}")
    if done["rejected"]:
        out.print(f"{done['rejected']:,} rows rejected, with reasons: {done['rejects_file']}")


@app.command()
def validate(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, CSV.gz or Parquet file of bars.")],
    column: Columns = None,
    symbol: Symbol = None,
    interval: IntervalOption = None,
    zone: Zone = None,
    exchange: Exchange = None,
    asset_class: AssetClassOption = None,
    date_format: DateFormat = None,
    decimals: Decimals = None,
    as_json: Json = False,
) -> None:
    """Read a file of bars without publishing it: rows, rejects and reasons. Exit 1 when a row is bad."""
    from streamlake_assets.commands.data import validate_file

    options = _mapping(
        column=column,
        symbol=symbol,
        interval=interval,
        zone=zone,
        exchange=exchange,
        asset_class=asset_class,
        date_format=date_format,
        decimals=decimals,
    )
    report = validate_file(path, options)
    if as_json:
        _emit(report)
    else:
        out.print(f"{report.path}: {report.rows:,} rows, {report.good:,} good, {report.rejected:,} rejected")
        out.print(f"instruments: {', '.join(map(str, report.instruments))}", highlight=False)
        out.print(f"bar times: {report.first_bar_time} to {report.last_bar_time}", highlight=False)
        for reason, count in report.rejects_by_reason.items():
            out.print(f"  {reason}: {count:,}")
        for reject in report.first_rejects:
            out.print(f"  line {reject.line}: {reject.reason}: {reject.detail}", highlight=False, markup=False)
    raise typer.Exit(1 if report.rejected else 0)


@app.command()
def consume() -> None:
    """Run the consumer alone, in the foreground: Kafka into MySQL until Ctrl-C."""
    from streamlake_assets.sidecar.consumer import main as run_consumer

    raise typer.Exit(run_consumer())


@app.command()
def cache(
    every: Annotated[str | None, typer.Option(help="Repeat at this interval, such as 60s or 5m.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Make every document again.")] = False,
) -> None:
    """Refresh the documents from MySQL, without Dagster."""
    from streamlake_assets.commands.data import refresh_cache

    pause_s = None if every is None else _seconds(every)
    settings = _settings()
    while True:
        done = refresh_cache(settings, full)
        out.print(f"{done.months} months touched, {done.sessions} session documents, {done.buckets} buckets written")
        if pause_s is None:
            return
        time.sleep(pause_s)


@app.command()
def train(
    until: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Newest session to learn from.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train once from the documents, without Dagster, and show each model's skill."""
    from streamlake_assets.commands.data import train as run_training

    report = run_training(_settings(), None if until is None else until.date())
    if as_json:
        _emit(report)
        return
    names = ("target", "name", "version", "skill", "skill_low", "skill_high", "has_skill")
    _table(
        "Skill over the baseline, out of fold", names, ([_short(record[name]) for name in names] for record in report)
    )


@app.command()
def forecasts(
    symbol: Annotated[str, typer.Argument(help="Such as IBM.")],
    last: Annotated[int, typer.Option("-n", min=1, help="Newest rows to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Show what was forecast for a symbol, and what happened."""
    from streamlake_assets.commands.data import forecast_rows

    found = forecast_rows(_settings(), symbol, last)
    if as_json:
        _emit(found)
        return
    names = ("session", "target", "point", "low", "high", "realised", "covered", "has_skill", "model_version", "late")
    _table(
        f"Forecasts of {found['symbol']}, newest first",
        names,
        ([_short(row[name]) for name in names] for row in found["rows"]),
    )
    for target, skill in found["live_skill"].items():
        text = "no scores yet" if skill is None else f"{skill:+.4f}"
        out.print(f"live skill on {target}, all instruments: {text}", highlight=False)
    out.print("Not investment advice.")


@app.command()
def migrate() -> None:
    """Bring the MySQL schema, the users' rights and the topics to this version."""
    from streamlake_assets.commands.data import prepare

    done = prepare(_settings())
    out.print(f"schema at revision {done['revision']}; topics made: {', '.join(done['topics_made']) or 'none'}")


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Really delete the data folder.")] = False,
) -> None:
    """Delete all data of this folder and start over."""
    from streamlake_assets.commands.supervise import reset as delete

    settings = _settings()
    if not yes:
        raise UsageError(f"this deletes {settings.data_dir} with all data in it: say `streamlake reset --yes`")
    done = delete(settings)
    out.print(f"deleted {done['home']}" if done["deleted"] else f"nothing to delete in {done['home']}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine before a start: Python, JDK, Maven, disk, ports. Exit 3 when something is missing."""
    from streamlake_assets.commands.supervise import doctor as examine

    findings = examine(_settings())
    if as_json:
        _emit(findings)
    else:
        for finding in findings:
            mark = "[green]ok[/green]     " if finding["ok"] else "[red]missing[/red]"
            out.print(f"{mark} {finding['name']:<14} {finding['detail']}", highlight=False, soft_wrap=True)
            if not finding["ok"]:
                out.print(f"        {finding['remedy']}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if all(finding["ok"] for finding in findings) else 3)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("streamlake"))


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdigit() or int(number) == 0:
        raise UsageError(f"--every {text}: say a whole number and s, m or h, such as 60s")
    return float(int(number) * units[unit])


def _short(value: Any) -> Any:
    return f"{value:+.5f}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
