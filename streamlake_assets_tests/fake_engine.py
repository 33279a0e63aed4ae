"""The Docker Engine as far as a run launcher asks it: a small HTTP server on loopback that keeps every request.

Belongs here: version, create, inspect, start, stop of containers. Stays out: containers. ``run_newest``
makes a plain process of one, with the environment and the command of the request, so that a launched run really runs.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from streamlake_assets_tests.deployment import ROOT

API = "1.47"


class FakeEngine:
    """Listens from ``with`` on; ``created`` has the body of each request for a container."""

    def __init__(self, mounts: Mapping[str, Path]) -> None:
        """Make one; ``mounts``: folder in a container -> folder here."""
        self.created: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.stopped: list[dict[str, list[str]]] = []
        self.gone = False
        """Whether containers were removed."""
        self.output = ""
        self.exit_code: int | None = None
        self._mounts = mounts
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> "FakeEngine":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._server.server_address[1]}"

    def run_newest(self) -> None:
        """Run the newest container to its end, as the engine would: the image's entrypoint, then the command."""
        body = self.created[-1]
        given = dict(pair.split("=", 1) for pair in body["Env"])
        for inside, here in self._mounts.items():
            given = {key: str(here) if value == inside else value for key, value in given.items()}
        # the image has the code installed; the tests, of which the job is one, are not
        image = {
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self._mounts["/tmp"]),  # noqa: S108
        }
        done = subprocess.run(
            ["sh", "deploy/entrypoint.sh", *body["Cmd"]],
            cwd=ROOT,
            env={**image, **given},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.output = done.stdout + done.stderr
        self.exit_code = done.returncode

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def _answer(self, status: int, body: object = None) -> None:
                payload = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                engine.asked.append(f"GET {path}")
                if path == "/version":
                    self._answer(200, {"ApiVersion": API, "MinAPIVersion": "1.24", "Version": "27.0.0"})
                elif path.endswith("/json") and "/containers/" in path and not engine.gone:
                    self._answer(200, {"Id": path.split("/")[-2], "State": {"Status": "running"}, "Config": {}})
                else:
                    self._answer(404, {"message": f"{path} is not known"})

            def do_POST(self) -> None:
                asked = urlsplit(self.path)
                engine.asked.append(f"POST {asked.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if asked.path.endswith("/containers/create"):
                    engine.created.append(json.loads(body))
                    self._answer(201, {"Id": f"c{len(engine.created)}", "Warnings": []})
                elif asked.path.endswith("/start"):
                    self._answer(204)
                elif asked.path.endswith("/stop"):
                    engine.stopped.append(parse_qs(asked.query))
                    self._answer(204)
                else:
                    self._answer(404, {"message": f"{asked.path} is not known"})

        return Handler
