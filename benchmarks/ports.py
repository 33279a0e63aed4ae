"""Free ports for the servers of a benchmark, all different.

Belongs here: nothing else. Stays out: ports of installations, which are settings.
"""

import socket
from contextlib import closing

from streamlake_assets.settings import LOOPBACK


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on; all are held open until all are known, so that none is given out twice."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            with closing(one):
                pass
