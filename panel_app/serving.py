"""How the page is served: the command line and environment of its server process.

Belongs here: arguments of ``panel serve``. Stays out: starting and watching the process (``streamlake up``).
"""

import sys
from pathlib import Path
from typing import Final

from streamlake_assets.settings import LOOPBACK

PATH: Final = "/app"
LIVENESS: Final = "/healthz"
ENVIRONMENT: Final = {
    # every script and font from this server: the page asks no other host
    "BOKEH_RESOURCES": "server",
}


def serve_argv(port: int) -> list[str]:
    """Return the command that serves the page on this machine alone, at ``PATH`` of the port."""
    return [
        *(sys.executable, "-m", "panel", "serve", str(Path(__file__).with_name("app.py"))),
        *("--address", LOOPBACK, "--port", str(port)),
        # another site's script must not open a session of a viewer's page
        *("--allow-websocket-origin", f"{LOOPBACK}:{port}", "--allow-websocket-origin", f"localhost:{port}"),
        *("--plugins", "panel_app.liveness"),
        # a page that was loaded and left is freed after this time (milliseconds)
        *("--unused-session-lifetime", "10000", "--check-unused-sessions", "5000"),
    ]
