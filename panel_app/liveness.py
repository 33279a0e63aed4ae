"""A plain address that says the page's server is alive: ``panel serve --plugins panel_app.liveness``.

Panel's own ``--liveness`` can be asked to build a whole session with each call; this one builds nothing.
"""

from tornado.web import RequestHandler


class Liveness(RequestHandler):
    """Answers ``ok``."""

    def get(self) -> None:
        """Answer."""
        self.set_header("Cache-Control", "no-store")
        self.write("ok")


ROUTES: list[tuple[str, type[RequestHandler], dict[str, str]]] = [("/healthz", Liveness, {})]
