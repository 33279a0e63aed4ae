"""A fresh stack for one round: real servers in a temporary folder on free ports, the consumer as its own process."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from benchmarks.ports import free_ports
from streamlake_assets.commands.data import prepare
from streamlake_assets.commands.services import consumer
from streamlake_assets.servers.supervisor import Supervisor
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores.mysql import make_engine

_PORTS = ("kafka_port", "kafka_controller_port", "mysql_port", "mongo_port", "consumer_port", "scorer_port")


class Stack(NamedTuple):
    """What a case may use."""

    settings: Settings
    supervisor: Supervisor
    engine: sa.Engine
    servers: list[str]


@contextmanager
def fresh_stack(say: Callable[[str], None], consume: bool = True) -> Iterator[Stack]:
    """Start servers at their default durability and the consumer in an empty folder; stop and delete all at the end.

    ``consume``: whether the consumer is started; without it tables are filled by other ways.
    """
    with tempfile.TemporaryDirectory(prefix="streamlake-bench-") as folder:
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        settings = Settings(_env_file=None, home=Path(folder) / "home", **ports)  # type: ignore[arg-type]
        with Supervisor(settings, lambda _line: None) as supervisor:
            servers = [info.what for info in supervisor.start_servers()]
            say(f"started {'; '.join(servers)}")
            prepare(settings)
            if consume:
                supervisor.start(consumer(settings))
            engine = make_engine(settings, DatabaseRole.READER)
            try:
                yield Stack(settings, supervisor, engine, servers)
            finally:
                engine.dispose()
