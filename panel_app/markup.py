"""Facts to HTML: header badges, forecast cards, legend, footer. Every text that comes from data is escaped.

Belongs here: markup and its style. Stays out: where facts come from, widgets.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from panel_app import tables
from panel_app.board import Badge
from panel_app.plots import COLOURS, FORECAST_COLOUR, MEANS
from panel_app.signal_marks import BUY_COLOUR, SELL_COLOUR
from streamlake_assets.market.forecasts import BASELINE_ENGINE
from streamlake_assets.market.targets import Target
from streamlake_assets.stores.page_rows import ForecastValues, NextForecast

UNCAPPED: Final = ":host { max-height: none; }"
"""Of columns and texts. Bokeh lets nothing be higher than what it lies in, which for the page is the window: what is
longer would lie over what follows."""
STYLE: Final = f"""{UNCAPPED}
:host {{ --ok: #14a38b; --warn: #c98a00; --bad: #e5484d; color: inherit; font-size: 14px; line-height: 1.45; }}
.strip {{ display: flex; flex-wrap: wrap; gap: 6px 8px; align-items: center; }}
.badge {{ padding: 2px 10px; border-radius: 12px; border: 1px solid rgba(127, 137, 150, .45); white-space: nowrap;
  font-variant-numeric: tabular-nums; }}
.badge::before {{ content: ""; display: none; width: 8px; height: 8px; border-radius: 4px; margin-right: 6px; }}
.badge.ok::before {{ display: inline-block; background: var(--ok); }}
.badge.warn {{ border-color: var(--warn); color: var(--warn); font-weight: 600; }}
.badge.bad {{ border-color: var(--bad); color: #fff; background: var(--bad); font-weight: 600; }}
.heading {{ display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; }}
.heading b {{ font-size: 20px; }}
.heading .price {{ font-size: 20px; font-variant-numeric: tabular-nums; }}
.heading .up {{ color: {COLOURS[False, True]}; }}
.heading .down {{ color: {COLOURS[False, False]}; }}
.quiet {{ opacity: .72; }}
a {{ color: inherit; }}
.notice {{ color: var(--warn); font-weight: 600; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }}
.card {{ border: 1px solid rgba(127, 137, 150, .35); border-radius: 10px; padding: 12px 14px; min-width: 0; }}
.card h3 {{ font-size: 14px; font-weight: 600; margin: 0 0 2px; display: flex; justify-content: space-between; gap: 8px;
  flex-wrap: wrap; }}
.card .value {{ font-size: 22px; font-variant-numeric: tabular-nums; }}
.card .small {{ font-size: 12.5px; opacity: .8; overflow-wrap: anywhere; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 12.5px; }}
.legend i {{ display: inline-block; width: 10px; height: 12px; border: 1px solid; margin: 0 3px -2px 0; }}
section {{ margin: 6px 0 2px; min-width: 0; }}
section h2, h2 {{ font-size: 17px; font-weight: 600; margin: 10px 0 4px; }}
h3 {{ font-size: 14px; font-weight: 600; margin: 10px 0 4px; }}
p {{ margin: 4px 0; }}
p.lead {{ font-size: 15px; max-width: 75ch; }}
ul {{ margin: 4px 0; padding-left: 20px; max-width: 95ch; }}
.small {{ font-size: 12.5px; }}
.ok {{ color: var(--ok); }}
.warn {{ color: var(--warn); }}
.bad {{ color: var(--bad); }}
.scroll {{ overflow-x: auto; width: fit-content; max-width: 100%; border: 1px solid rgba(127, 137, 150, .28);
  border-radius: 8px; }}
.scroll.wide, pre.scroll {{ width: auto; }}
.scroll:focus-visible, .pick:focus-visible {{ outline: 2px solid #5b8def; outline-offset: 1px; }}
.wide table {{ width: 100%; }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 5px 10px; white-space: nowrap; vertical-align: top; }}
td {{ border-top: 1px solid rgba(127, 137, 150, .2); }}
td.long {{ white-space: normal; min-width: 30ch; max-width: 60ch; overflow-wrap: anywhere; }}
th {{ font-weight: 600; opacity: .75; }}
.number {{ text-align: right; }}
tbody tr:hover {{ background: rgba(127, 137, 150, .1); }}
.pick {{ font: inherit; color: inherit; background: transparent; border: 1px solid rgba(127, 137, 150, .5);
  border-radius: 6px; padding: 0 8px; cursor: pointer; }}
.pick:disabled {{ opacity: .5; cursor: not-allowed; }}
.pick:hover:enabled, .pick.on {{ background: rgba(91, 141, 239, .22); border-color: #5b8def; }}
dl {{ display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 2px 14px; margin: 4px 0; }}
dt {{ opacity: .72; }}
dd {{ margin: 0; min-width: 0; overflow-wrap: anywhere; }}
pre {{ margin: 4px 0; padding: 8px 10px; font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere;
  max-height: 260px; overflow-y: auto; }}
.why {{ border-left: 3px solid #5b8def; padding-left: 12px; }}
.glances {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; }}
.glance {{ display: grid; grid-template-columns: 1fr auto; gap: 2px 8px; text-align: left; padding: 8px 10px;
  border-radius: 10px; align-items: baseline; }}
.glance svg {{ grid-column: 1 / -1; width: 100%; }}
.up {{ color: {COLOURS[False, True]}; }}
.down {{ color: {COLOURS[False, False]}; }}
.health {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 6px 20px; }}
.health li {{ display: flex; gap: 8px; align-items: center; }}
details summary {{ cursor: pointer; }}
.hidden {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }}
"""
_TITLES: Final = {Target.ADJUSTED_RETURN: "Return of the next session", Target.LOG_RANGE: "Range of the next session"}
_SKILLS: Final = {Target.ADJUSTED_RETURN: "direction", Target.LOG_RANGE: "risk"}


def badges(shown: Sequence[Badge]) -> str:
    """Return the header's badges."""
    return '<div class="strip" role="status">' + "".join(map(tables.badge, shown)) + "</div>"


def heading(name: str, close: float | None, before: float | None, notes: str, notice: str) -> str:
    """Return the line above the chart: name, last price and its change, what kind of bar it is, what is missing."""
    parts = [f"<b>{escape(name)}</b>"]
    if close is not None:
        parts.append(f'<span class="price">{price_text(close)}</span>')
        if before:
            change = close / before - 1
            parts.append(f'<span class="{"up" if change >= 0 else "down"}">{change:+.2%}</span>')
    if notes:
        parts.append(f'<span class="quiet">{escape(notes)}</span>')
    if notice:
        parts.append(f'<span class="notice">{escape(notice)}</span>')
    return f'<div class="heading">{"".join(parts)}</div>'


def counter(candles: int, last: str) -> str:
    """Return a line for screen readers: how many candles there are and when the last one began."""
    return f'<span class="hidden candles">candles: {candles}; last: {escape(last)}</span>'


def forecast_cards(forecasts: Sequence[NextForecast] | None) -> str:
    """Return one card for each target; what is not known is said."""
    if forecasts is None:
        return '<div class="cards"><div class="card quiet">forecasts are not known yet</div></div>'
    by_target = {one.target: one for one in forecasts}
    return '<div class="cards">' + "".join(_card(target, by_target.get(target)) for target in Target) + "</div>"


def legend() -> str:
    """Return what the colours of the chart mean."""

    def box(line: str, fill: str) -> str:
        return f'<i style="border-color:{line};background:{fill}"></i>'

    real, made = (COLOURS[False, True], COLOURS[False, False]), (COLOURS[True, True], COLOURS[True, False])
    items = [
        "".join(box(colour, colour) for colour in real) + "real bar, up and down",
        "".join(box(colour, colour) for colour in made) + "synthetic bar",
        "".join(box(colour, "transparent") for colour in (real[0], made[0])) + "provisional: not settled yet",
        "".join(box(colour, colour) for _, colour in MEANS.values())
        + " and ".join(str(window) for window, _ in MEANS.values())
        + " bars' moving average of raw closes",
        box(FORECAST_COLOUR, f"{FORECAST_COLOUR}55") + "forecast: return with interval, expected high to low",
        f'<b style="color:{BUY_COLOUR}">\u25b2</b> buy, <b style="color:{SELL_COLOUR}">\u25bc</b> sell: '
        "signals, only of a model of the return that passed the gate",
    ]
    return '<div class="legend">' + "".join(f"<span>{item}</span>" for item in items) + "</div>"


def price_text(value: float) -> str:
    """Return a price with two decimals, small ones with more."""
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.6g}"


def skill_badge(forecast: NextForecast) -> Badge:
    """Return what the gate says of the champion of a target."""
    subject = _SKILLS[forecast.target]
    return Badge("ok", f"skill on {subject}") if forecast.has_skill else Badge("note", f"no skill on {subject}")


def _card(target: Target, forecast: NextForecast | None) -> str:
    if forecast is None:
        return f'<div class="card"><h3>{_TITLES[target]}</h3><div class="quiet">no forecast yet: no model</div></div>'
    head = f"<h3><span>{_TITLES[target]}</span>{tables.badge(skill_badge(forecast))}</h3>"
    by = forecast.engine
    if by != BASELINE_ENGINE:
        by += "; skill is judged over all instruments"
    model = f'<div class="small">model {escape(forecast.model_version)} ({escape(by)})</div>'
    if forecast.values is None:
        return f'<div class="card">{head}<div class="quiet">no forecast yet</div>{model}</div>'
    return f'<div class="card">{head}{_values(target, forecast.values)}{model}</div>'


def _values(target: Target, values: ForecastValues) -> str:
    # natural units are logarithms of ratios: people read per cent
    point, low, high, baseline = (
        math.expm1(value) for value in (values.point, values.low, values.high, values.baseline)
    )
    form = "{:+.2%}" if target.has_direction else "{:.2%}"
    what = "" if target.has_direction else ' <span class="small">between low and high</span>'
    return (
        f'<div class="value">{form.format(point)}{what}</div>'
        f'<div class="small">{values.coverage:.0%} interval {form.format(low)} to {form.format(high)}, '
        f"baseline {form.format(baseline)}; for {values.session.isoformat()}, known up to "
        f"{values.known_session.isoformat()}</div>"
    )
