"""One message at a time with plain SQL: poll, json.loads, one upsert, commit; Kafka's automatic offset commit.

``python -m benchmarks.peers.per_message_sql GROUP MOST REPORT``; stays out: everything that a batch would need.
"""

from typing import Any

from sqlalchemy.dialects import mysql

from benchmarks.peers.simple import for_each, plain_row, task
from streamlake_assets.stores import schema


def main() -> None:
    """Store the messages."""
    insert = mysql.insert(schema.bars)
    keys = {column.name for column in schema.bars.primary_key}
    upsert = insert.on_duplicate_key_update(
        {column.name: insert.inserted[column.name] for column in schema.bars.c if column.name not in keys}
    )
    with task({"enable.auto.commit": True}) as work, work.engine.connect() as connection:

        def store(message: Any) -> None:
            connection.execute(upsert, plain_row(message, work))
            connection.commit()

        for_each(work, store)


if __name__ == "__main__":
    main()
