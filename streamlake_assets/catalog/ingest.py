"""The facts of the ingest: what became of messages, and why some were refused.

Belongs here: their columns, meanings and SQL. Stays out: facts of the market (``facts``), measures (``measures``).

Their dates are those of the broker and of the server that wrote, not market dates: a replay of 2013 is ingested today.
So they have no relationship to the calendar of the market, whose slicer must not hide them.
"""

from typing import Final

from streamlake_assets.catalog.measures import INGEST_MEASURES, REFUSAL_MEASURES
from streamlake_assets.catalog.model import Column, Kind, Role, Table
from streamlake_assets.market.contract import Reason


def _count(name: str, source: str, meaning: str) -> Column:
    return Column(
        name=name,
        kind=Kind.INTEGER,
        sql=f"CAST(SUM(b.{source}) AS SIGNED)",
        meaning=meaning,
        unit="messages",
        format="#,0",
        bounds=(0, None),
    )


INGEST_QUALITY: Final = Table(
    view="bi_ingest_quality",
    label="Ingest quality",
    role=Role.FACT,
    meaning="What became of the messages: each is counted once, as new, changed, same, older or dead.",
    grain="a day of ingest of one partition of one topic",
    key=("ingest_date", "topic", "partition_no"),
    columns=(
        Column(
            name="ingest_date",
            kind=Kind.DATE,
            sql="DATE(b.created_at)",
            meaning="UTC date the messages were stored on.",
            format="yyyy-mm-dd",
        ),
        Column(name="topic", kind=Kind.TEXT, sql="t.topic", meaning="Topic they came by."),
        Column(
            name="partition_no", kind=Kind.INTEGER, sql="b.partition_no", label="Partition", meaning="Partition of it."
        ),
        _count("messages", "messages", "Messages read."),
        _count("new_facts", "`new`", "Brought a bar or action that was not known."),
        _count("changed_facts", "changed", "Brought a better version of a known one."),
        _count("repeated", "same", "Said what was in force already."),
        _count("older", "older", "Brought a version that was worse than the one in force."),
        _count("dead", "dead", "Broke the contract and became dead letters."),
    ),
    source="FROM ingest_batches AS b JOIN streams AS t ON t.id = b.stream_id\n"
    "GROUP BY DATE(b.created_at), t.topic, b.partition_no",
    measures=INGEST_MEASURES,
)

DEAD_LETTERS: Final = Table(
    view="bi_dead_letters",
    label="Dead letters",
    role=Role.FACT,
    meaning="Why messages broke the contract, counted; what they said is not shown here.",
    grain="a broker's date, topic, reason and resolution",
    key=("broker_date", "topic", "reason", "resolution"),
    columns=(
        Column(
            name="broker_date",
            kind=Kind.DATE,
            sql="DATE(d.broker_time)",
            meaning="UTC date the broker took the messages.",
            format="yyyy-mm-dd",
        ),
        Column(name="topic", kind=Kind.TEXT, sql="t.topic", meaning="Topic they came by."),
        Column(
            name="reason",
            kind=Kind.TEXT,
            sql="d.reason",
            meaning="Rule that was broken.",
            members=tuple(one.value for one in Reason),
        ),
        Column(
            name="resolution",
            kind=Kind.TEXT,
            sql="COALESCE(d.resolution, 'open')",
            meaning="What an operator decided.",
            members=("open", "replayed", "dropped"),
        ),
        Column(
            name="letters",
            label="Number of letters",
            kind=Kind.INTEGER,
            sql="COUNT(*)",
            meaning="Number of dead letters.",
            unit="messages",
            format="#,0",
            bounds=(1, None),
            hidden=True,
        ),
    ),
    source="FROM dead_letters AS d JOIN streams AS t ON t.id = d.stream_id\n"
    "GROUP BY DATE(d.broker_time), t.topic, d.reason, COALESCE(d.resolution, 'open')",
    measures=REFUSAL_MEASURES,
)
