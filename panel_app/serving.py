"""How the page is served: the command line and environment of its server process, which runs this file.

Belongs here: arguments of ``panel serve``. Stays out: starting and watching the process (``streamlake up``), who may
act (``login``).
"""

import os
import sys
from pathlib import Path
from typing import Final

from streamlake_assets.settings import LOOPBACK, load_settings

PATH: Final = "/app"
LIVENESS: Final = "/healthz"
ENVIRONMENT: Final = {
    # every script and font from this server: the page asks no other host
    "BOKEH_RESOURCES": "server",
}
PING_S: Final = 15.0
"""How often each browser is asked for a sign of life; one that gives none until the next is disconnected."""


def serve_argv(port: int) -> list[str]:
    """Return the command that serves the page on this machine alone, at ``PATH`` of the port."""
    return [
        *(sys.executable, "-m", "panel_app.serving", str(Path(__file__).with_name("app.py"))),
        *("--address", LOOPBACK, "--port", str(port)),
        # another site's script must not open a session of a viewer's page
        *("--allow-websocket-origin", f"{LOOPBACK}:{port}", "--allow-websocket-origin", f"localhost:{port}"),
        *("--plugins", "panel_app.liveness"),
        # a page that was loaded and left is freed after this time (milliseconds)
        *("--unused-session-lifetime", "10000", "--check-unused-sessions", "5000"),
    ]


def main() -> None:
    """Run ``panel serve`` with the arguments of this process and the login of the settings."""
    from bokeh.server.views.ws import WSHandler
    from panel.command import main as panel_command

    from panel_app.login import login_arguments, login_environment

    settings = load_settings()
    # secrets go by the environment of this process alone: a command line is seen by everybody on the machine
    os.environ.update(login_environment(settings))
    # Tornado's own setting, which the command line does not have: without it what is sent to a browser that does not
    # read any more is kept in memory for ever
    WSHandler.ping_interval = PING_S  # type: ignore[assignment,method-assign]
    sys.argv = ["panel", "serve", *sys.argv[1:], *login_arguments(settings)]
    panel_command()


if __name__ == "__main__":
    main()
