"""The proxy: who gets in, from which page, under which name. Its text always; requests where there is an nginx."""

import base64
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy import make_secrets
from streamlake_assets.settings import LOOPBACK
from streamlake_assets_tests.conftest import free_port
from streamlake_assets_tests.deployment import ROOT, secrets_of, services

CONF = (ROOT / "deploy/proxy/nginx.conf").read_text()
SERVERS = {found[1]: found[0] for found in re.finditer(r"server \{\n +listen ([\d.:]+);.*?\n  \}\n", CONF, re.DOTALL)}
PAGES = {"8080": "dagster-webserver:3000", "8081": "dagster-view:3000", "8082": "panel:5006"}


def test_every_page_has_its_login_and_its_rules() -> None:
    assert set(SERVERS) == {*PAGES, "127.0.0.1:8090"}
    for port in PAGES:
        assert SERVERS[port].count("include /etc/nginx/proxy/security.conf;") == 1
        assert SERVERS[port].count("auth_basic ") == 1
        # a location with headers of its own would lose those of all, one without a login would need none
        assert "add_header" not in SERVERS[port]
        assert "off" not in SERVERS[port]
    logins = {port: re.findall(r"auth_basic_user_file /run/secrets/(\w+);", SERVERS[port]) for port in PAGES}
    assert logins == {"8080": ["proxy_admins"], "8081": ["proxy_viewers"], "8082": ["proxy_viewers"]}
    assert set(secrets_of(services()["proxy"])) == {name for names in logins.values() for name in names}


def test_it_leads_to_what_there_is() -> None:
    published = [port.rpartition(":")[2] for port in services()["proxy"]["ports"]]
    assert published == list(PAGES)
    for port, upstream in PAGES.items():
        assert re.findall(r"set \$\w+ http://([\w:-]+);", SERVERS[port]) == [upstream]
        name, _, inside = upstream.partition(":")
        command = services()[name]["command"]
        assert command[command.index("--port") + 1] == inside
        assert SERVERS[port].count("proxy_pass ") >= 1
    health = services()["proxy"]["healthcheck"]["test"][-1]
    assert health == "http://127.0.0.1:8090/"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


class Proxy:
    """A running nginx with the deployment's configuration, in front of a server that tells what reached it."""

    def __init__(self, ports: dict[str, int], logins: dict[str, str]) -> None:
        self.ports = ports
        self._logins = logins

    def ask(self, page: str, path: str = "/", method: str = "GET", login: str = "", **headers: str) -> Answer:
        """Send one request; ``headers``: name with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if login:
            user, _, password = login.partition(":")
            word = f"{user}:{password or self._logins[user]}"
            given["Authorization"] = f"Basic {base64.b64encode(word.encode()).decode()}"
        connection = http.client.HTTPConnection(LOOPBACK, self.ports[page], timeout=10)
        try:
            connection.request(method, path, headers=given)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def origin(self, page: str, host: str = LOOPBACK) -> str:
        return f"http://{host}:{self.ports[page]}"


class Telling(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _tell(self) -> None:
        body = json.dumps({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _tell


@contextmanager
def telling_server() -> Iterator[int]:
    server = ThreadingHTTPServer((LOOPBACK, 0), Telling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not nginx:
        pytest.skip(
            "nginx is not on this machine (Debian's package nginx-light): no request was sent through the proxy"
        )
    folder = tmp_path_factory.mktemp("proxy")
    make_secrets.make(folder / "secrets")
    logins = dict(line.split() for line in (folder / "secrets/logins.txt").read_text().splitlines())
    ports = {page: free_port() for page in [*PAGES, "8090"]}
    with telling_server() as upstream:
        text = CONF.replace("/tmp/", f"{folder}/").replace("/run/secrets/", f"{folder}/secrets/")  # noqa: S108
        text = text.replace("/etc/nginx/proxy/", f"{ROOT}/deploy/proxy/").replace("127.0.0.1:8090", "8090")
        for page, name in PAGES.items():
            text = text.replace(f"listen {page};", f"listen {LOOPBACK}:{ports[page]};")
            text = text.replace(f"http://{name}", f"http://{LOOPBACK}:{upstream}")
        text = text.replace("listen 8090;", f"listen {LOOPBACK}:{ports['8090']};")
        # workers of another user could not read this test's folder
        (folder / "nginx.conf").write_text(f"user {Path(folder).owner()};\n{text}")
        process = subprocess.Popen(
            [nginx, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until_it_listens(process, ports["8090"])
            yield Proxy(ports, logins)
        finally:
            process.terminate()
            process.wait(timeout=10)


def until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(200):
        assert process.poll() is None, "nginx refused its configuration"
        with socket.socket() as probe:
            probe.settimeout(0.05)
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        threading.Event().wait(0.05)
    raise AssertionError("nginx does not listen")


@pytest.mark.parametrize("page", PAGES)
def test_nobody_gets_in_without_a_login(proxy: Proxy, page: str) -> None:
    for login in ("", "admin:wrong", "nobody:wrong"):
        answer = proxy.ask(page, "/x", login=login)
        assert answer.status == 401
        assert answer.headers["X-Frame-Options"] == "DENY"
    assert proxy.ask(page, "/x", login="admin").status == 200


def test_viewers_get_the_view_and_the_page_only(proxy: Proxy) -> None:
    assert [proxy.ask(page, "/x", login="viewer").status for page in PAGES] == [401, 200, 200]


def test_the_login_does_not_go_on(proxy: Proxy) -> None:
    answer = proxy.ask("8080", "/runs?a=%2Fb", login="admin")
    told = json.loads(answer.body)
    assert "authorization" not in told["headers"]
    assert told["path"] == "/runs?a=%2Fb"
    assert told["headers"]["host"] == f"{LOOPBACK}:{proxy.ports['8080']}"


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_framed(proxy: Proxy, page: str) -> None:
    answer = proxy.ask(page, "/x", login="admin")
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:13000", "localhost.evil.example", "127.0.0.1.evil", "x"]
)
def test_a_foreign_host_is_refused(proxy: Proxy, page: str, host: str) -> None:
    assert proxy.ask(page, login="admin", Host=host).status == 421
    assert proxy.ask(page, "/x", login="admin", Host=f"localhost:{proxy.ports[page]}").status == 200


@pytest.mark.parametrize("page", PAGES)
def test_only_a_page_of_the_same_origin_may_change_something(proxy: Proxy, page: str) -> None:
    own = proxy.origin(page)
    other = proxy.origin("8082" if page != "8082" else "8080")
    asked = {
        origin: proxy.ask(page, "/graphql", "POST", login="admin", Origin=origin).status
        for origin in (own, "null", "https://evil.example", f"{own}.evil.example", f"http://evil.example/{own}", other)
    }
    assert asked.pop(own) == 200
    assert set(asked.values()) == {403}
    assert proxy.ask(page, "/graphql", "POST", login="admin").status == 200, "a program names no origin"


def test_a_link_opens_a_page_and_does_nothing_else(proxy: Proxy) -> None:
    fetched = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    assert proxy.ask("8080", "/runs", login="admin", **fetched).status == 403
    assert proxy.ask("8080", "/runs", login="admin", **{**fetched, "Sec_Fetch_Site": "same-site"}).status == 403
    assert proxy.ask("8080", "/runs", login="admin", **{**fetched, "Sec_Fetch_Site": "same-origin"}).status == 200
    opened = {**fetched, "Sec_Fetch_Mode": "navigate"}
    assert proxy.ask("8080", "/runs", login="admin", **opened).status == 200
    for page in ("8080", "8081"):
        assert proxy.ask(page, "/graphql?query=mutation%7Bx%7D", login="admin", **opened).status == 405


@pytest.mark.parametrize("page", ["8080", "8081"])
@pytest.mark.parametrize(
    "path", ["/report_asset_materialization/x", "//report_asset_check/x", "/%72eport_asset_check/x"]
)
def test_events_of_assets_do_not_come_through_the_proxy(proxy: Proxy, page: str, path: str) -> None:
    assert proxy.ask(page, path, "POST", login="admin").status == 403


def test_a_websocket_passes_from_its_own_page_only(proxy: Proxy) -> None:
    shake = {"Upgrade": "websocket", "Connection": "Upgrade"}
    for page, path in (("8080", "/graphql"), ("8082", "/app/ws")):
        told = json.loads(proxy.ask(page, path, login="admin", Origin=proxy.origin(page), **shake).body)
        assert told["headers"]["upgrade"] == "websocket"
        assert told["headers"]["connection"] == "upgrade"
        assert proxy.ask(page, path, login="admin", Origin="https://evil.example", **shake).status == 403


def test_the_page_s_probes_stay_inside(proxy: Proxy) -> None:
    for path in ("/healthz", "/liveness", "/liveness?endpoint=/app"):
        assert proxy.ask("8082", path, login="admin").status == 404
    answer = proxy.ask("8082", "/", login="viewer")
    assert answer.status == 302
    assert answer.headers["Location"].endswith("/app")


def test_the_probe_of_the_proxy_itself_needs_no_login(proxy: Proxy) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, proxy.ports["8090"], timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 204
    connection.close()
