"""The command line of ingestion: ledger, backfill, rebuild, and the group ``dead-letters``.

Belongs here: options, tables, exit codes of these commands; ``register`` puts them under ``streamlake``. Stays out:
what they do (``ingest``, ``ingest_load``, ``ingest_rebuild``), loaded only when one is called.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamlake_assets.commands.terminal import (
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
    harmless,
    line,
    mapping_options,
    moment,
    progress,
    settings_in_force,
    table,
)
from streamlake_assets.errors import UsageError

if TYPE_CHECKING:
    from streamlake_assets.stores.dead_letters import Wanted

STATES = ("open", "replayed", "dropped", "all")
TOPICS = ("finance-data", "corporate-actions", "all")

dead_letters = typer.Typer(
    name="dead-letters",
    help="Messages that broke the contract: list, show, replay, drop; let a stopped partition go on.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Reason = Annotated[str | None, typer.Option(help="Only letters with this reason, such as bad_price.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only of this topic, such as finance-data.")]
Ids = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", help="Ids, as `list` shows them.", show_default=False)
]
AllOpen = Annotated[bool, typer.Option("--all", help="All open letters that fit the other options.")]


def register(app: typer.Typer) -> None:
    """Put the commands of ingestion under the main command."""
    app.command()(backfill)
    app.command()(ledger)
    app.command()(rebuild)
    app.add_typer(dead_letters)


def ledger(
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Do not ask Kafka: compare the tables with each other.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count: every message is in the tables once, as new, changed, same, older or dead. Exit 1 when it does not hold.

    Batches must tile the offsets, batch records must agree with the rows, stored offsets with the topics. What does not
    add up is named by topic, partition and range of offsets.
    """
    from streamlake_assets.commands.ingest import read_ledger

    found = read_ledger(settings_in_force(), tables_only, progress())
    if as_json:
        emit(found)
    else:
        names = ("new", "changed", "same", "older", "dead", "waiting")
        table(
            "Messages by topic and partition",
            ("place", "stored", *names, "none"),
            (
                [
                    f"{one['topic']}[{one['partition']}]",
                    one["messages"],
                    *(one[name] for name in names),
                    one["no_messages"],
                ]
                for one in found["partitions"]
            ),
        )
        line("stored = new + changed + same + older + dead; waiting: on the topic, not stored yet; none: no messages")
        for one in found["imbalances"]:
            offsets = f"{one['first_offset']}..{one['last_offset']}"
            line(f"does not balance: {one['topic']}[{one['partition']}] offsets {offsets}: {one['what']}")
        line(found["text"])
    raise typer.Exit(0 if found["balances"] else 1)


def backfill(
    what: Annotated[
        str, typer.Argument(help="finance-data, corporate-actions or all: what waits on it; or a FILE of bars.")
    ],
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
        str | None, typer.Option("--as-of", metavar="ISO-TIME", help="FILE: when its rows were stated, as in `replay`.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="FILE: stop at the first bad row, publish nothing.")] = False,
    rejects: Annotated[Path | None, typer.Option(help="FILE: where bad rows go; default: FILE.rejects.csv")] = None,
    as_json: Json = False,
) -> None:
    """Load much at once: what waits on a topic, by LOAD DATA, with the same result as the consumer's.

    A FILE is published first, exactly as `replay` does: the topic stays the record of everything, and a rebuild sees
    it. Safe beside a running consumer: each message is stored by one of the two.
    """
    from streamlake_assets.commands.ingest_load import backfill_file, backfill_topics

    settings = settings_in_force()
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
    say = progress()
    if what in TOPICS:
        done = backfill_topics(settings, what, say)
    elif Path(what).is_file():
        stated = None if as_of is None else moment(as_of)
        done = backfill_file(settings, Path(what), options, strict, rejects, stated, say)
    else:
        raise UsageError(f"{what} is neither a file nor one of {', '.join(TOPICS)}")
    if as_json:
        emit(done)
        return
    if "bars_sent" in done:
        line(f"{done['bars_sent']:,} bars and {done['actions_sent']} corporate actions published")
        if done["rejected"]:
            line(f"{done['rejected']:,} rows rejected, each with its reason in {done['rejects_file']}")
    counts = ", ".join(f"{done[name]:,} {name}" for name in ("new", "changed", "same", "older", "dead"))
    line(f"{done['messages']:,} messages loaded in {done['seconds']:.1f} s ({done['per_second']:,.0f}/s): {counts}")
    if done["by_others"]:
        line(f"{done['by_others']:,} were stored by the consumer in the meantime")
    for one in done["stopped"]:
        line(f"not read: {one['topic']}[{one['partition']}] is stopped: {one['reason']}")


def rebuild(
    from_offset: Annotated[int, typer.Option(min=0, help="Read each partition from here; 0: everything.")] = 0,
    schema: Annotated[
        str, typer.Option("--schema", help="Name of the empty schema to build in; it is made when it is missing.")
    ] = "streamlake_rebuild",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the schema, for the migrating user to look at; else it is dropped.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build all raw tables anew from the topics, in a schema beside, and compare. Exit 1 when they differ.

    It reads each partition up to where the live tables stand now, so a running consumer does not disturb it, and
    changes nothing in the live schema. From an offset above 0 only the rows are counted: there is nothing equal to
    compare with.
    """
    from streamlake_assets.commands.ingest_rebuild import rebuild as run

    done = run(settings_in_force(), from_offset, schema, keep, progress())
    if as_json:
        emit(done)
    else:
        equal = {True: "yes", False: "NO", None: "not compared"}
        table(
            f"Rebuilt in {done['schema']} from offset {from_offset}",
            ("table", "live rows", "rebuilt rows", "digest equal"),
            ([one["table"], one["live_rows"], one["rebuilt_rows"], equal[one["equal"]]] for one in done["tables"]),
        )
        for note in done["notes"]:
            line(note)
        line(f"{done['messages']:,} messages in {done['seconds']:.1f} s ({done['per_second']:,.0f}/s)")
        line(f"the rebuilt schema is {'kept: ' + done['schema'] if done['kept'] else 'dropped'}")
    raise typer.Exit(0 if done["equal"] in (True, None) else 1)


@dead_letters.command("list")
def list_letters(
    reason: Reason = None,
    topic: TopicOption = None,
    state: Annotated[str, typer.Option(help="open, replayed, dropped or all.")] = "open",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Newest letters to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first, and the partitions that are stopped because of them."""
    from streamlake_assets.commands.ingest import list_letters as read
    from streamlake_assets.stores.dead_letters import Wanted

    if state not in STATES:
        raise UsageError(f"--state {state}: say one of {', '.join(STATES)}")
    wanted = Wanted(reason=reason, topic=topic, state=None if state == "all" else state)
    found = read(settings_in_force(), wanted, limit)
    if as_json:
        emit(found)
        return
    table(
        f"Dead letters: {len(found['letters']):,} of {found['found']:,}, {state}",
        ("id", "place", "offset", "reason", "state", "detail"),
        (
            [
                one["id"],
                f"{one['topic']}[{one['partition']}]",
                one["offset"],
                one["reason"],
                one["state"],
                one["detail"],
            ]
            for one in found["letters"]
        ),
    )
    for one in found["stopped"]:
        line(f"stopped: {one['topic']}[{one['partition']}] at offset {one['next_offset']}: {one['reason']}")


@dead_letters.command("show")
def show_letter(
    letter_id: Annotated[int, typer.Argument(metavar="ID", help="Id, as `list` shows it.")], as_json: Json = False
) -> None:
    """Show one dead letter whole: where it stood, what was wrong, what it said."""
    from streamlake_assets.commands.ingest import show_letter as read

    found = read(settings_in_force(), letter_id)
    if as_json:
        emit(found)
        return
    line(f"{found['topic']}[{found['partition']}] offset {found['offset']}, broker's time {found['broker_time']}")
    line(harmless(f"{found['reason']}: {found['detail']}"))
    resolved = "" if found["state"] == "open" else f" by {found['resolved_by']} at {found['resolved_at']}"
    line(f"state: {found['state']}{resolved}")
    line(harmless(f"key: {found['key']}"))
    line(f"payload: {'none' if found['payload'] is None else str(found['payload_bytes']) + ' bytes'}")
    if found["payload"] is not None:
        typer.echo(harmless(found["payload"]))


@dead_letters.command("replay")
def replay_letters(
    ids: Ids = None, reason: Reason = None, topic: TopicOption = None, all_open: AllOpen = False, as_json: Json = False
) -> None:
    """Judge open letters again and store those that keep the contract now, each once. Exit 1 when some still break it.

    For the day after a mended contract or decoder. Safe to repeat, and beside a running consumer.
    """
    from streamlake_assets.commands.ingest import replay_letters as run

    done = run(settings_in_force(), _wanted(ids, reason, topic, all_open), progress())
    if as_json:
        emit(done)
    else:
        counts = ", ".join(f"{done[name]:,} {name}" for name in ("new", "changed", "same", "older"))
        line(f"{done['replayed']:,} letters replayed: {counts}")
        if done["not_open"]:
            line(f"{done['not_open']:,} of the ids are no open letters")
        if done["still_bad"]:
            table(
                f"{len(done['still_bad']):,} still break the contract and stay open",
                ("id", "place", "offset", "reason", "detail"),
                (
                    [one["id"], f"{one['topic']}[{one['partition']}]", one["offset"], one["reason"], one["detail"]]
                    for one in done["still_bad"][:50]
                ),
            )
    raise typer.Exit(1 if done["still_bad"] else 0)


@dead_letters.command("drop")
def drop_letters(
    ids: Ids = None, reason: Reason = None, topic: TopicOption = None, all_open: AllOpen = False, as_json: Json = False
) -> None:
    """Mark open letters as dropped: nobody needs to look at them again. The rows stay, with who dropped them."""
    from streamlake_assets.commands.ingest import drop_letters as run

    done = run(settings_in_force(), _wanted(ids, reason, topic, all_open))
    if as_json:
        emit(done)
    else:
        line(f"{done['dropped']:,} letters dropped")
        if done["not_open"]:
            line(f"{done['not_open']:,} of the ids are no open letters")


@dead_letters.command("resume")
def resume_partitions(
    topic: TopicOption = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    as_json: Json = False,
) -> None:
    """Let consumers read stopped partitions again: all, or those of a topic. They take them up within seconds."""
    from streamlake_assets.commands.ingest import resume_partitions as run

    done = run(settings_in_force(), topic, partition)
    if as_json:
        emit(done)
        return
    for one in done:
        line(f"{one['topic']}[{one['partition']}] goes on from offset {one['next_offset']}")
    if not done:
        line("no partition is stopped" if topic is None and partition is None else "no such partition is stopped")


def _wanted(ids: list[int] | None, reason: str | None, topic: str | None, all_open: bool) -> "Wanted":
    from streamlake_assets.stores.dead_letters import Wanted

    if not (ids or reason or topic or all_open):
        raise UsageError("say which: ids, --reason, --topic or --all")
    return Wanted(ids=ids or None, reason=reason, topic=topic)
