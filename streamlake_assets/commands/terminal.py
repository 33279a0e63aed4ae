"""What all commands of the command line share: consoles, option types, tables, JSON, progress, exit codes.

Belongs here: how something is shown and how a failure becomes an exit code. Stays out: the commands
(``cli``), what they do (the other modules of ``commands``).
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamlake_assets.errors import StreamlakeError, UsageError
from streamlake_assets.settings import Settings, load_settings

EXIT_CODES = """
Exit codes: 0 done · 1 something did not hold · 2 a setting, argument or file is wrong, or streamlake already runs ·
3 a program or download is missing · 4 a server did not start · 5 a bad record · 6 a server is not available now ·
7 stored state contradicts the stream
"""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count: 128 + SIGINT."""
_UNITS = {"s": 1, "m": 60, "h": 3600}

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
SourceName = Annotated[str | None, typer.Option("--source", help="Name of the provider or data set; default: file.")]
Decimals = Annotated[int | None, typer.Option(help="Round prices to so many decimals, for files with float noise.")]

out = Console()
err = Console(stderr=True, highlight=False)


def exit_code_of(run: Callable[[], Any]) -> int:
    """Run a command line; an error becomes one line on standard error, and everything an exit code.

    Args:
        run: the command line, not standalone: it returns the code of a ``typer.Exit`` and raises all other errors.
    """
    try:
        code = run()
    except StreamlakeError as error:
        err.print("[bold red]error[/bold red]", end=" ")
        err.print(str(error), soft_wrap=True, markup=False)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        # a wrong option shows itself; anything else is a fault of this program and keeps its traceback
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", UsageError.exit_code))
    return code if isinstance(code, int) else 0


def settings_in_force() -> Settings:
    """Return the settings of this process.

    Raises:
        UsageError: a value is not allowed; the message names the setting, never the value, which may be secret.
    """
    from pydantic import ValidationError

    try:
        return load_settings()
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # about several settings: the message names them
            raise UsageError(message) from None
        name = f"STREAMLAKE_{'_'.join(map(str, first['loc'])).upper()}"
        raise UsageError(f"{name}: {message}") from None


def progress() -> Callable[[str], None]:
    """Return a function that prints one line of progress with the seconds since now; for any thread."""
    start = time.monotonic()

    def say(line: str) -> None:
        err.print(f"{time.monotonic() - start:6.1f} s  {line}", soft_wrap=True, markup=False)

    return say


def emit(value: Any) -> None:
    """Print a value as one line of JSON."""
    typer.echo(json.dumps(msgspec.to_builtins(value, enc_hook=str), default=str))


def line(text: str) -> None:
    """Print one line as it is: not wrapped, not coloured."""
    out.print(text, soft_wrap=True, highlight=False, markup=False)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print rows as a table; None is an empty cell."""
    shown = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for column in columns:
        shown.add_column(column)
    for row in rows:
        # as text: what comes from outside is neither markup nor a command to the terminal
        shown.add_row(*("" if value is None else Text(harmless(str(value))) for value in row))
    out.print(shown)


def harmless(text: str) -> str:
    """Return a text without signs that a terminal obeys: they are shown as escapes; ends of lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape", "surrogatepass").decode()
        for sign in text
    )


def short(value: Any) -> Any:
    """Return a float with sign and four decimals, everything else as it is."""
    return f"{value:+.4f}" if isinstance(value, float) else value


def mapping_options(**options: Any) -> dict[str, Any]:
    """Return the options about a file's columns that were given, as ``sources.guess`` takes them.

    Raises:
        UsageError: a ``--column`` is not FIELD=NAME.
    """
    from streamlake_assets.sources.mapping import column_overrides

    columns = column_overrides(options.pop("column") or [])
    return {**columns, **{name: value for name, value in options.items() if value is not None}}


def moment(text: str) -> dt.datetime:
    """Read an ISO 8601 time, in UTC; without an offset it is UTC.

    Raises:
        UsageError: it is none.
    """
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of {text}: say an ISO 8601 time, such as 2024-01-05T18:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def seconds(text: str) -> float:
    """Read a pause such as ``60s``, ``5m`` or ``1h``, in seconds.

    Raises:
        UsageError: it is none.
    """
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or int(number) == 0:
        raise UsageError(f"--every {text}: say a whole number and s, m or h, such as 60s")
    return float(int(number) * _UNITS[unit])


def show_skill(report: Sequence[Mapping[str, Any]]) -> None:
    """Print what models are worth, as ``flows.skill.skill_report`` gives it."""
    names = ("name", "version", "skill", "skill_low", "skill_high", "has_skill")
    table(
        "Skill over the baseline, out of fold, with its 95 % interval",
        ("model", "version", "skill", "low", "high", "passed"),
        ([short(record[name]) for name in names] for record in report),
    )


def show_forecasts(found: Mapping[str, Any]) -> None:
    """Print ledger rows and live skill, as ``commands.data.forecast_rows`` gives them."""
    numbers = ("point", "low", "high", "realised")
    inside = {None: "", True: "yes", False: "no"}
    table(
        f"Forecasts of {found['symbol']}, newest first",
        ("session", "target", "point", "low", "high", "actual", "inside", "model"),
        (
            [
                row["session"],
                row["target"].rpartition("_")[2],
                *(short(row[name]) for name in numbers),
                "late" if row["late"] else inside[row["covered"]],
                row["model_version"],
            ]
            for row in found["rows"]
        ),
    )
    for target, skill in found["live_skill"].items():
        text = "no scores yet" if skill is None else f"{skill:+.4f}"
        line(f"live skill on {target}, all instruments: {text}")
    line("Not investment advice.")


Named = TypeVar("Named", bound=StrEnum)


def named(kind: type[Named], option: str, text: str) -> Named:
    """Return the member of a vocabulary that an option names.

    Raises:
        UsageError: there is none; the message lists them.
    """
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{option} {text}: one of {', '.join(one.value for one in kind)}") from None
