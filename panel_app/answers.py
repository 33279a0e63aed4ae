"""What views that show answers have in common: which questions they watch, when they draw, and a table one can pick in.

Belongs here: the frame of such a view and its small components. Stays out: what is asked and drawn (each view).
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import panel
import panel_material_ui
import param
from panel.custom import JSComponent

from panel_app import charts, markup, tables
from panel_app.data_store import DataStore
from panel_app.selection import Selection
from panel_app.shelf import Question, Watching

# the types that these libraries state do not hold for their own constructors
pn: Any = panel
pmui: Any = panel_material_ui

PLAIN_TOGGLES: Final = {"& .MuiToggleButton-root": {"textTransform": "none", "whiteSpace": "nowrap"}}
WIDE: Final = {"sizing_mode": "stretch_width", "margin": 0}


class PickTable(JSComponent):
    """HTML in which elements with ``data-pick`` are buttons: the last one pressed stands in ``picked``.

    What comes back is the browser's word: who reads it checks it against what was shown.
    """

    html = param.String(default="")
    picked = param.String(default="")
    _esm = """
export function render({ model }) {
  const box = document.createElement("div");
  const draw = () => { box.innerHTML = model.html; };
  box.addEventListener("click", (event) => {
    const found = event.target.closest("[data-pick]");
    if (!found) { return; }
    // the same button twice is two presses
    if (model.picked === found.dataset.pick) { model.picked = ""; }
    model.picked = found.dataset.pick;
  });
  model.on("html", draw);
  draw();
  return box;
}
"""


class Contents(JSComponent):
    """Links that bring a titled section of the view into sight; a long view begins with them."""

    titles = param.List(default=[])
    _esm = """
export function render({ model }) {
  const box = document.createElement("nav");
  box.className = "strip";
  box.setAttribute("aria-label", "sections");
  // each text of the page lies in a shadow tree of its own, where no link by name can lead
  const headings = (root) => [...root.querySelectorAll("*")].flatMap(one => [
    ...(one.matches("section > h2") ? [one] : []), ...(one.shadowRoot ? headings(one.shadowRoot) : []),
  ]);
  for (const title of model.titles) {
    const link = document.createElement("a");
    link.href = "#";
    link.className = "small";
    link.textContent = title;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const found = headings(document).find(one => one.textContent === title && one.checkVisibility());
      if (found) { found.scrollIntoView({ block: "start" }); }
    });
    box.append(link);
  }
  return box;
}
"""


class Address(JSComponent):
    """The page's address: ``wanted`` is put there as a new entry of the history, ``seen`` is where going back led.

    Panel's own component writes the address, but does not hear of back and forward.
    """

    wanted = param.String(default="")
    seen = param.String(default="")
    _esm = """
export function render({ model }) {
  let first = true;
  const put = () => {
    if (!model.wanted) { return; }
    if (model.wanted !== window.location.search) {
      const url = window.location.pathname + model.wanted + window.location.hash;
      // the address a page was opened by is not a place to go back to
      window.history[first ? "replaceState" : "pushState"]({}, "", url);
    }
    first = false;
  };
  const back = () => { model.seen = window.location.search; };
  model.on("wanted", put);
  model.on("remove", () => window.removeEventListener("popstate", back));
  window.addEventListener("popstate", back);
  put();
  return document.createElement("span");
}
"""


class AnswerView(ABC):
    """A view that shows answers of the shelf."""

    controls: Sequence[Any] = ()
    needs_selection: ClassVar[bool] = False

    def __init__(self, store: DataStore) -> None:
        self._store = store
        self._selection: Selection | None = None
        self._watching = Watching(store.shelf)
        self._in_sight = False

    def show(self, selection: Selection | None) -> None:
        """Come into sight."""
        self._selection = selection
        self._in_sight = True
        self.ask()

    def tick(self) -> None:
        """Draw what is new, and how old it is."""
        if self._in_sight:
            if self._watching.news():
                self.draw()
            self.draw_ages(self._store.now())

    def rest(self) -> None:
        """Ask nothing while another view is in sight."""
        self._in_sight = False
        self._watching.only()

    def close(self) -> None:
        """Let go of all questions."""
        self.rest()

    def ask(self) -> None:
        """Look at what this view needs now, and draw what is known of it."""
        self._watching.only(*self.questions())
        self._watching.news()
        self.draw()
        self.draw_ages(self._store.now())

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """Return what this view needs now."""

    @abstractmethod
    def draw(self) -> None:
        """Draw what is known."""

    @abstractmethod
    def draw_ages(self, now: dt.datetime) -> None:
        """Say how old what is shown is."""


def html(text: str = "", **more: Any) -> Any:
    """Return a pane of HTML in the page's style."""
    return pn.pane.HTML(text, stylesheets=[markup.STYLE, charts.STYLE], **{**WIDE, **more})


def pick_table() -> Any:
    """Return an empty table one can pick in, in the page's style."""
    made: Any = PickTable
    return made(stylesheets=[markup.STYLE], **WIDE)


def contents(*titles: str) -> Any:
    """Return links that lead to the sections of these titles."""
    made: Any = Contents
    return made(titles=list(titles), stylesheets=[markup.STYLE], **WIDE)


def address() -> Any:
    """Return what holds the page's address; it is not seen."""
    made: Any = Address
    return made(width=0, height=0, margin=0)


def put(pane: Any, text: str) -> None:
    """Put HTML into a pane, if it is not there already."""
    name = "html" if isinstance(pane, PickTable) else "object"
    if getattr(pane, name) != text:
        setattr(pane, name, text)


def chosen(widget: Any, options: Sequence[str], before: str) -> str:
    """Return a widget's value if it is one of these, else what it was: a browser may send anything."""
    return widget.value if widget.value in options else before


def column(*parts: Any, gap: str = "10px") -> Any:
    """Return parts below each other.

    Bokeh's own column: one of the component library is a tree of its own in the browser, which is laid out anew for
    each of its parts.
    """
    return pn.Column(*parts, styles={"gap": gap}, stylesheets=[markup.UNCAPPED], **WIDE)


def disclaimer() -> Any:
    """Return the line that stands wherever a forecast or signal is shown."""
    return html(tables.paragraph("Not investment advice.", "small quiet"))
