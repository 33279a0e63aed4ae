"""The report: which pages there are and what they show.

Belongs here: pages, their visuals and slicers by the names of the catalogue. Stays out: PBIR's JSON (``visuals``), the
files around it (``project``).

Every page has the same slicers at the top, which move together; on the page of an instrument the instrument comes from
where the reader drilled through, or from the slicer. Dates of the ingest are not market dates: their slicer is their
own.
"""

from typing import Final

from streamlake_assets.catalog.model import Catalog
from streamlake_assets.catalog.visuals import WIDTH, Field, Page, Visual, VisualType
from streamlake_assets.errors import UsageError

_MARGIN: Final = 16
_SLICER_TOP, _SLICER_HEIGHT = 16, 76
_CARD_TOP, _CARD_HEIGHT = 108, 92
_TOP, _BOTTOM = 216, 704


def pages(catalog: Catalog) -> tuple[Page, ...]:
    """Return the pages, the first being the one that opens.

    Raises:
        UsageError: a page names a field that the catalogue does not have.
    """
    fields = _Fields(catalog)
    return _market(fields), _instrument(fields), _forecast_quality(fields), _data_quality(fields)


class _Fields:
    """Finds fields of a catalogue: columns by view and name, measures by name."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._measures = {measure.name: table.label for table, measure in catalog.measures}

    def column(self, view: str, name: str) -> Field:
        """Return a column by the names of view and column."""
        table = self._catalog.table(view)
        return Field(table.label, table.column(name).label)

    def measure(self, name: str) -> Field:
        """Return a measure by its name."""
        if name not in self._measures:
            raise UsageError(f"the catalogue has no measure {name}")
        return Field(self._measures[name], name, is_measure=True)

    def measures(self, *names: str) -> tuple[Field, ...]:
        """Return measures by their names."""
        return tuple(self.measure(name) for name in names)

    @property
    def date(self) -> Field:
        """The date of the calendar."""
        return self.column("bi_dates", "calendar_date")

    @property
    def instrument(self) -> Field:
        """The name of an instrument that no two share."""
        return self.column("bi_instruments", "instrument")


def _slicers(fields: _Fields, *more: tuple[str, Field]) -> tuple[Visual, ...]:
    """Return date, sector and instrument, and what a page has of its own, side by side."""
    wanted = [
        ("Date", fields.date, "Between"),
        ("Sector", fields.column("bi_sectors", "sector"), "Dropdown"),
        ("Instrument", fields.instrument, "Dropdown"),
        *((title, one, "Between" if "date" in one.name.lower() else "Dropdown") for title, one in more),
    ]
    return tuple(
        Visual(
            type=VisualType.SLICER,
            title=title,
            place=place,
            fields={"Values": (one,)},
            group=title,
            mode=mode,
        )
        for (title, one, mode), place in zip(wanted, _row(len(wanted), _SLICER_TOP, _SLICER_HEIGHT), strict=True)
    )


def _cards(fields: _Fields, *names: str) -> tuple[Visual, ...]:
    places = _row(len(names), _CARD_TOP, _CARD_HEIGHT)
    return tuple(
        Visual(type=VisualType.CARD, title=name, place=place, fields={"Values": (fields.measure(name),)})
        for name, place in zip(names, places, strict=True)
    )


def _row(count: int, top: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return so many places of equal width side by side."""
    step = (WIDTH - _MARGIN) // count
    return [(_MARGIN + place * step, top, step - _MARGIN, height) for place in range(count)]


def _cell(column: int, row: int, columns: int = 2, rows: int = 2) -> tuple[int, int, int, int]:
    """Return a place of the grid below slicers and cards."""
    left, _, width, _ = _row(columns, 0, 0)[column]
    step = (_BOTTOM - _TOP + _MARGIN) // rows
    return left, _TOP + row * step, width, step - _MARGIN


def _market(fields: _Fields) -> Page:
    by_instrument = fields.measures(
        "Period return",
        "Annualised volatility",
        "Max drawdown",
        "Dollar volume",
        "Beta",
        "Correlation",
        "Completeness",
    )
    sector = fields.column("bi_sectors", "sector")
    earned = fields.measure("Period return")
    return Page(
        title="Market overview",
        visuals=(
            *_slicers(fields),
            *_cards(
                fields,
                *("Period return", "Annualised volatility", "Max drawdown", "Dollar volume"),
                *("Best instrument", "Best return", "Worst instrument", "Worst return"),
            ),
            Visual(
                type=VisualType.LINE,
                title="Index to 100, equal weights",
                place=_cell(0, 0),
                fields={
                    "Category": (fields.date,),
                    "Y": fields.measures("Index to 100"),
                    "Series": (fields.column("bi_instruments", "symbol"),),
                },
            ),
            Visual(
                type=VisualType.BARS,
                title="Return by sector",
                place=_cell(1, 0),
                fields={"Category": (sector,), "Y": (earned,)},
                descending=earned,
            ),
            Visual(
                type=VisualType.TABLE,
                title="Instruments: drill through for one",
                place=_cell(0, 1),
                fields={"Values": (fields.instrument, *by_instrument)},
                descending=earned,
            ),
            Visual(
                type=VisualType.COLUMNS,
                title="Dollar volume by quarter",
                place=_cell(1, 1),
                fields={
                    "Category": (fields.column("bi_dates", "year_quarter"),),
                    "Y": fields.measures("Dollar volume"),
                },
            ),
        ),
    )


def _instrument(fields: _Fields) -> Page:
    return Page(
        title="Instrument",
        drillthrough=fields.instrument,
        visuals=(
            *_slicers(fields),
            *_cards(
                fields,
                *("Last close", "Period return", "Annualised volatility", "Max drawdown"),
                *("VWAP", "Dollar volume", "Beta", "Correlation"),
            ),
            Visual(
                type=VisualType.LINE,
                title="Close, raw",
                place=_cell(0, 0),
                fields={"Category": (fields.date,), "Y": fields.measures("Last close")},
            ),
            Visual(
                type=VisualType.LINE,
                title="Adjusted, start at 100",
                place=_cell(1, 0),
                fields={"Category": (fields.date,), "Y": fields.measures("Index to 100")},
            ),
            Visual(
                type=VisualType.COLUMNS,
                title="Return by quarter",
                place=_cell(0, 1),
                fields={
                    "Category": (fields.column("bi_dates", "year_quarter"),),
                    "Y": fields.measures("Period return"),
                },
            ),
            Visual(
                type=VisualType.TABLE,
                title="Forecasts and what came true",
                place=_cell(1, 1),
                fields={
                    "Values": tuple(
                        fields.column("bi_forecasts", name)
                        for name in ("target_session", "target", "low", "point", "high", "realised", "model_version")
                    )
                },
                descending=fields.column("bi_forecasts", "target_session"),
            ),
        ),
    )


def _forecast_quality(fields: _Fields) -> Page:
    quarter = fields.column("bi_dates", "year_quarter")
    return Page(
        title="Forecast quality",
        visuals=(
            *_slicers(fields, ("Target", fields.column("bi_forecasts", "target"))),
            *_cards(
                fields,
                *("Skill", "Hit rate", "Base rate", "Hit rate over base rate"),
                *("Interval coverage", "Coverage promised", "Forecasts scored", "Forecasts late"),
            ),
            Visual(
                type=VisualType.COLUMNS,
                title="Skill by quarter: one target at a time",
                place=_cell(0, 0),
                fields={"Category": (quarter,), "Y": fields.measures("Skill")},
            ),
            Visual(
                type=VisualType.LINE,
                title="Interval coverage by quarter",
                place=_cell(1, 0),
                fields={"Category": (quarter,), "Y": fields.measures("Interval coverage", "Coverage promised")},
            ),
            Visual(
                type=VisualType.LINE,
                title="Hit rate against base rate by quarter",
                place=_cell(0, 1),
                fields={"Category": (quarter,), "Y": fields.measures("Hit rate", "Base rate")},
            ),
            Visual(
                type=VisualType.TABLE,
                title="Models",
                place=_cell(1, 1),
                fields={
                    "Values": (
                        *(
                            fields.column("bi_forecasts", name)
                            for name in ("target", "model_version", "engine", "passed_gate")
                        ),
                        *fields.measures("Forecasts scored", "Skill", "Hit rate", "Base rate", "Interval coverage"),
                    )
                },
                descending=fields.measure("Forecasts scored"),
            ),
        ),
    )


def _data_quality(fields: _Fields) -> Page:
    ingested = fields.column("bi_ingest_quality", "ingest_date")
    return Page(
        title="Data quality",
        visuals=(
            *_slicers(fields, ("Ingest date", ingested)),
            *_cards(
                fields,
                *("Completeness", "Sessions", "Sessions due", "Synthetic share"),
                *("Messages read", "Messages dead", "Dead-letter rate", "Letters open"),
            ),
            Visual(
                type=VisualType.TABLE,
                title="Completeness by instrument",
                place=_cell(0, 0),
                fields={
                    "Values": (
                        fields.instrument,
                        *fields.measures("Sessions", "Sessions due", "Completeness", "Synthetic share"),
                    )
                },
                descending=fields.measure("Sessions due"),
            ),
            Visual(
                type=VisualType.LINE,
                title="Completeness by quarter",
                place=_cell(1, 0),
                fields={
                    "Category": (fields.column("bi_dates", "year_quarter"),),
                    "Y": fields.measures("Completeness"),
                },
            ),
            Visual(
                type=VisualType.BARS,
                title="Dead letters by reason",
                place=_cell(0, 1),
                fields={
                    "Category": (fields.column("bi_dead_letters", "reason"),),
                    "Y": fields.measures("Letters"),
                },
                descending=fields.measure("Letters"),
            ),
            Visual(
                type=VisualType.TABLE,
                title="Ingest by day and topic",
                place=_cell(1, 1),
                fields={
                    "Values": (
                        ingested,
                        fields.column("bi_ingest_quality", "topic"),
                        *fields.measures("Messages read", "Messages dead", "Dead-letter rate"),
                    )
                },
                descending=ingested,
            ),
        ),
    )
