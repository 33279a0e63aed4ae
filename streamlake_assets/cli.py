"""The ``streamlake`` command: options, tables and exit codes; what the commands do lies in ``commands``.

Heavy modules load inside the command that needs them, so that ``streamlake --help`` answers at once.
"""

import datetime as dt
import sys
from pathlib import Path
from time import sleep
from typing import Annotated, NoReturn

import typer

from streamlake_assets.commands import (
    alerts_app,
    bi_app,
    fetch_app,
    ingest_app,
    models_app,
    nifi_app,
    score_app,
    simulate_app,
)
from streamlake_assets.commands.terminal import (
    EXIT_CODES,
    AssetClassOption,
    Columns,
    DateFormat,
    Decimals,
    Exchange,
    IntervalOption,
    Json,
    SourceName,
    Symbol,
    Zone,
    emit,
    err,
    exit_code_of,
    line,
    mapping_options,
    moment,
    out,
    progress,
    seconds,
    settings_in_force,
    show_forecasts,
    show_skill,
    table,
)
from streamlake_assets.errors import TryLaterError, UsageError

Nifi = Annotated[
    bool | None,
    typer.Option("--nifi/--no-nifi", help="Through NiFi; default: where a JDK 21 or newer is found, --once: no."),
]
app = typer.Typer(
    name="streamlake",
    help="Streaming market data: Kafka to MySQL, documents, models, honest forecasts.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> NoReturn:
    """Run the command line; errors become one line and their exit code."""
    sys.exit(exit_code_of(lambda: app(standalone_mode=False)))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the summary instead of staying up.")] = False,
    speed: Annotated[float | None, typer.Option(min=0.01, help="Live sessions per second; --once: no pauses.")] = None,
    nifi: Nifi = None,
    reports: Annotated[bool, typer.Option("--reports", help="Make the reports too: minutes more.")] = False,
    as_json: Json = False,
) -> None:
    """Run the whole chain on real servers and 12,154 real bars, then stay up until Ctrl-C."""
    from streamlake_assets.commands import supervise
    from streamlake_assets.commands.demo import run_demo
    from streamlake_assets.commands.summary import print_summary

    settings = settings_in_force()
    found = supervise.urls(settings)
    shown = {} if once else {name: found[name] for name in ("dagster", "panel")}
    ok = run_demo(
        settings,
        progress(),
        once,
        speed if once or speed is not None else 1.0,
        supervise.with_nifi(settings, False if once and nifi is None else nifi, progress()),
        reports,
        lambda summary: emit(summary) if as_json else print_summary(out, summary, shown),
    )
    raise typer.Exit(0 if ok else 1)


@app.command()
def up(nifi: Nifi = None) -> None:
    """Run servers, consumer, Dagster, Panel, and NiFi where it can run, in the foreground until Ctrl-C."""
    from streamlake_assets.commands.chain import run_chain

    run_chain(settings_in_force(), nifi, progress())


@app.command()
def down(as_json: Json = False) -> None:
    """Stop what runs in this folder."""
    from streamlake_assets.commands.supervise import down as stop

    done = stop(settings_in_force(), progress())
    if as_json:
        emit(done)
    elif done["stopped"] is None and not done["ended"]:
        line("nothing runs in this folder")


@app.command()
def status(as_json: Json = False) -> None:
    """Show what runs, where, and whether it answers."""
    from streamlake_assets.commands.supervise import status as read_status

    found = read_status(settings_in_force())
    if as_json:
        emit(found)
        return
    if found["supervisor"] is None and not any(service["alive"] for service in found["services"]):
        line(f"{found['home']}: nothing runs")
        return
    names = ("name", "condition", "answers", "what", "version", "address", "pid", "restarts")
    supervisor = found["supervisor"]
    title = f"{found['home']}: " + (f"supervised by pid {supervisor}" if supervisor else "nothing runs")
    table(title, names, ([service.get(name) for name in names] for service in found["services"]))


@app.command()
def urls(
    as_json: Json = False,
    show_secrets: Annotated[bool, typer.Option("--show-secrets", help="Print passwords.")] = False,
) -> None:
    """Print the addresses of everything; passwords are masked."""
    from streamlake_assets.commands.supervise import urls as addresses

    found = addresses(settings_in_force(), show_secrets)
    if as_json:
        emit(found)
        return
    for name, url in found.items():
        line(f"{name:<17} {url}")


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="kafka, mysql, documents, consumer, panel, dagster-webserver, …")],
    lines: Annotated[int, typer.Option("-n", min=1, help="Number of lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is added.")] = False,
) -> None:
    """Print the end of a process's log."""
    from streamlake_assets.commands.supervise import logs as read_logs

    for entry in read_logs(settings_in_force(), name, lines, follow):
        typer.echo(entry)


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
    source: SourceName = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="ISO-TIME",
            help="When the source stated these rows: a corrected file wins over what was stated earlier. "
            "UTC unless it has an offset; default: each bar's own time.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row, publish nothing.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="Where bad rows go; default: FILE.rejects.csv")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the consumer has stored everything.")] = True,
    as_json: Json = False,
) -> None:
    """Publish a file of bars of your own; `validate` shows first what would happen."""
    from streamlake_assets.commands.data import replay_file

    options = mapping_options(
        column=column,
        symbol=symbol,
        interval=interval,
        zone=zone,
        exchange=exchange,
        asset_class=asset_class,
        date_format=date_format,
        decimals=decimals,
        source=source,
    )
    stated = None if as_of is None else moment(as_of)
    done = replay_file(settings_in_force(), path, options, strict, rejects, wait, stated, progress())
    if as_json:
        emit(done)
        return
    state = "stored" if done["stored"] else "sent"
    line(f"{done['bars_sent']:,} bars and {done['actions_sent']} corporate actions {state}")
    if done["rejected"]:
        line(f"{done['rejected']:,} rows rejected, each with its reason in {done['rejects_file']}")
        for reason, count in done["reasons"].items():
            line(f"  {reason}: {count:,}")


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
    source: SourceName = None,
    as_json: Json = False,
) -> None:
    """Read a file of bars without publishing it: rows, rejects and reasons. Exit 1 when a row is bad."""
    from streamlake_assets.commands.data import validate_file

    options = mapping_options(
        column=column,
        symbol=symbol,
        interval=interval,
        zone=zone,
        exchange=exchange,
        asset_class=asset_class,
        date_format=date_format,
        decimals=decimals,
        source=source,
    )
    report = validate_file(path, options)
    if as_json:
        emit(report)
    else:
        line(f"{report.path}: {report.rows:,} rows, {report.good:,} good, {report.rejected:,} rejected")
        line(f"instruments: {', '.join(map(str, report.instruments))}")
        line(f"bar times: {report.first_bar_time} to {report.last_bar_time}")
        for reason, count in report.rejects_by_reason.items():
            line(f"  {reason}: {count:,}")
        for reject in report.first_rejects:
            line(f"  line {reject.line}: {reject.reason}: {reject.detail}")
    raise typer.Exit(1 if report.rejected else 0)


@app.command()
def consume() -> None:
    """Run the consumer alone, in the foreground: Kafka into MySQL until Ctrl-C."""
    from streamlake_assets.sidecar.consumer import main as run_consumer

    settings_in_force()  # a wrong setting is told as everywhere, before the process reads them itself
    raise typer.Exit(run_consumer())


ingest_app.register(app)
simulate_app.register(app)
fetch_app.register(app)
nifi_app.register(app)
score_app.register(app)
models_app.register(app)
alerts_app.register(app)
bi_app.register(app)


@app.command()
def cache(
    every: Annotated[str | None, typer.Option(help="Repeat at this interval, such as 60s or 5m.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Make every document again.")] = False,
) -> None:
    """Refresh the documents from MySQL, without Dagster."""
    from streamlake_assets.commands.data import refresh_cache

    pause_s = None if every is None else seconds(every)
    settings = settings_in_force()
    say = progress()
    probe = True
    while True:
        try:
            done = refresh_cache(settings, full, say, probe)
        except TryLaterError as error:
            if pause_s is None:
                raise
            # what repeats outlives an outage: the next round does what this one could not
            err.print(f"put off: {error}", soft_wrap=True, markup=False)
        else:
            line(f"{done.months} months touched, {done.sessions} session documents, {done.buckets} buckets written")
        if pause_s is None:
            return
        probe = False
        sleep(pause_s)


@app.command()
def train(
    until: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Newest session to learn from.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train once from the documents, without Dagster, and show each model's skill."""
    from streamlake_assets.commands.data import train as run_training

    report = run_training(settings_in_force(), None if until is None else until.date(), progress())
    if as_json:
        emit(report)
        return
    show_skill(report)


@app.command()
def forecasts(
    symbol: Annotated[str, typer.Argument(help="Such as IBM.")],
    last: Annotated[int, typer.Option("-n", min=1, help="Newest rows to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Show what was forecast for a symbol, and what happened."""
    from streamlake_assets.commands.data import forecast_rows

    found = forecast_rows(settings_in_force(), symbol, last)
    if as_json:
        emit(found)
        return
    show_forecasts(found)


@app.command()
def migrate() -> None:
    """Bring the MySQL schema, the users' rights and the topics to this version."""
    from streamlake_assets.commands.data import prepare, require_servers

    settings = settings_in_force()
    say = progress()
    say("looking for the servers")
    require_servers(settings, "kafka", "mysql")
    say("schema, users' rights and topics")
    done = prepare(settings)
    line(f"schema at revision {done['revision']}; topics made: {', '.join(done['topics_made']) or 'none'}")


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Really delete the data folder.")] = False,
) -> None:
    """Delete all data of this folder and start over."""
    from streamlake_assets.commands.supervise import reset as delete

    settings = settings_in_force()
    if not yes:
        raise UsageError(f"this deletes {settings.data_dir} with all data in it: say `streamlake reset --yes`")
    done = delete(settings)
    line(f"deleted {done['home']}" if done["deleted"] else f"nothing to delete in {done['home']}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine before a start: Python, JDK, Maven, disk, ports. Exit 3 when something is missing."""
    from streamlake_assets.commands.supervise import doctor as examine

    findings = examine(settings_in_force())
    if as_json:
        emit(findings)
    else:
        for finding in findings:
            out.print("[green]ok[/green]     " if finding["ok"] else "[red]missing[/red]", end=" ")
            line(f"{finding['name']:<14} {finding['detail']}")
            if not finding["ok"]:
                line(f"        {finding['remedy']}")
    raise typer.Exit(0 if all(finding["ok"] for finding in findings) else 3)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("streamlake"))


if __name__ == "__main__":
    main()
