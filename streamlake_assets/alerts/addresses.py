"""Where a webhook may go: https to public hosts, so that a rule file cannot reach into the machine's own network.

Belongs here: judging a URL at load, judging and opening its addresses at each delivery. Stays out: what is sent.

The host is resolved once for each delivery, every address it has is judged, and the connection goes to a judged one:
a name that is public when judged and private when opened (DNS rebinding) gains nothing. Redirects are never followed.
"""

import ipaddress
import socket
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from streamlake_assets.errors import UsageError

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_PORTS: Final = {"https": 443, "http": 80}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Place(NamedTuple):
    """A URL that may be asked."""

    secure: bool
    host: str
    port: int
    path: str


def require_url(url: str, loopback: bool) -> Place:
    """Return the parts of a webhook's URL; no name is resolved.

    Args:
        url: as configured.
        loopback: whether addresses of this machine are allowed, and http to them.

    Raises:
        UsageError: it is none, or goes where no webhook may go; the message never holds the URL, which may be secret.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("this is not a URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError("a webhook's URL begins with https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise UsageError("a URL with a user or password is refused: the message is signed instead")
    if not url.isascii() or any(sign.isspace() or sign in "\\\x00" for sign in url):
        raise UsageError("a URL is ASCII without spaces and backslashes")
    host = parts.hostname.rstrip(".")
    literal = _literal(host)
    if literal is not None and not allowed(literal, loopback):
        raise UsageError(f"{literal} is not a public address")
    here = host == "localhost" or host.endswith(".localhost") or (literal is not None and literal.is_loopback)
    if here and not loopback:
        raise UsageError("a host of this machine: set STREAMLAKE_ALERT_LOOPBACK=true if that is meant")
    if parts.scheme == "http" and not here:
        raise UsageError("http is refused: anybody on the way could read and change the message; use https")
    return Place(parts.scheme == "https", host, port or _PORTS[parts.scheme], _path(parts))


def open_socket(host: str, port: int, loopback: bool, timeout_s: float) -> socket.socket:
    """Connect to a host whose addresses are all allowed.

    Raises:
        UsageError: one of its addresses is not a public one.
        OSError: it cannot be resolved or reached.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, address in found:
        if not allowed(ipaddress.ip_address(str(address[0]).partition("%")[0]), loopback):
            raise UsageError(f"{host} resolves to {address[0]}, which is not a public address")
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        opened = socket.socket(family, kind, protocol)
        opened.settimeout(timeout_s)
        try:
            opened.connect(address)
        except OSError as error:
            opened.close()
            failure = error
        else:
            return opened
    raise failure or OSError(f"{host} has no address")


def allowed(address: Address, loopback: bool) -> bool:
    """Tell whether a webhook may go to an address: a public one, or with ``loopback`` one of this machine."""
    inner = _embedded(address)
    if inner is not None:
        return allowed(inner, loopback)
    if address.is_loopback:
        return loopback
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        # 127.1, 0x7f000001 and 2130706433 are addresses to a resolver
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host[:1].isdecimal() else None
    except OSError:
        return None


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
