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
    from panel.command import main as panel_command

    from panel_app.login import login_arguments, login_environment

    settings = load_settings()
    # secrets go by the environment of this process alone: a command line is seen by everybody on the machine
    os.environ.update(login_environment(settings))
    sys.argv = ["panel", "serve", *sys.argv[1:], *login_arguments(settings)]
    panel_command()


if __name__ == "__main__":
    main()
