"""One message at a time, as simple systems write it: poll, json.loads, ORM merge, commit, synchronous offset commit.

``python -m benchmarks.peers.per_message GROUP MOST REPORT``; stays out: everything that a batch would need.
"""

from typing import Any

from sqlalchemy.orm import Session, registry

from benchmarks.peers.simple import for_each, plain_row, task
from streamlake_assets.stores import schema


class BarRow:
    """A row of ``bars`` for the ORM."""


def main() -> None:
    """Store the messages."""
    registry().map_imperatively(BarRow, schema.bars)
    with task({"enable.auto.commit": False}) as work, Session(work.engine) as session:

        def store(message: Any) -> None:
            row = BarRow()
            for name, value in plain_row(message, work).items():
                setattr(row, name, value)
            session.merge(row)
            session.commit()
            work.consumer.commit(message=message, asynchronous=False)

        for_each(work, store)


if __name__ == "__main__":
    main()
