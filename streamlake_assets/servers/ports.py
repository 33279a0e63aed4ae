"""Ports of this machine: who holds one, and a clear error when it is not ours.

Belongs here: looking at ports. Stays out: which server uses which port.
"""

import errno
import socket

import psutil

from streamlake_assets.errors import PortInUseError
from streamlake_assets.settings import LOOPBACK


def port_is_free(port: int) -> bool:
    """Say whether a server could listen on 127.0.0.1 at this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # as servers do it: connections of an earlier server that are closing do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def answers(port: int, host: str = LOOPBACK, timeout_s: float = 1.0) -> bool:
    """Say whether something accepts connections at this port."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def port_holder(port: int) -> str:
    """Return ``name (pid N)`` of the process that listens on the port, or why it cannot be told."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            if connection.pid is None:
                break
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                break
    return "a process of another user"


def require_free(port: int, setting: str, server: str) -> None:
    """Check that a server can take its port.

    Raises:
        PortInUseError: the message names the port, its holder, and the setting that moves the server elsewhere.
    """
    if not port_is_free(port):
        raise PortInUseError(
            f"port {port} for {server} is held by {port_holder(port)}: end that, or set {setting} to another port"
        )
