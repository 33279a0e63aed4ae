"""Tables as files that people take away: CSV and an Excel workbook of one sheet.

Belongs here: bytes out of heading and rows. Stays out: what the rows are. Text that a spreadsheet would take for a
formula is made plain text: names come from data, and a cell must not run.
"""

import csv
import io
import zipfile
from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

CSV_TYPE: Final = "text/csv"
XLSX_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The same table is the same file."""
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_HEADER: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS: Final = {
    "[Content_Types].xml": (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
        '<Override PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/_rels/workbook.xml.rels": (
        f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="streamlake" sheetId="1" r:id="rId1"/>'
        "</sheets></workbook>"
    ),
}


def harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet runs: text that begins like a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a table as CSV in UTF-8 with a mark that spreadsheets read it by; None is an empty cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([["" if cell is None else harmless(cell) for cell in row] for row in rows])
    return out.getvalue().encode("utf-8-sig")


def as_xlsx(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a table as an Excel workbook: numbers as numbers, everything else as text that is never a formula."""
    lines = "".join(_row(number, row) for number, row in enumerate([list(head), *rows], 1))
    sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{lines}</sheetData></worksheet>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), _HEADER + text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _row(number: int, row: Sequence[Any]) -> str:
    cells = "".join(_cell(f"{_letters(place)}{number}", value) for place, value in enumerate(row))
    return f'<row r="{number}">{cells}</row>'


def _cell(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        # not of a library's own number type, whose text names the type
        number = int(value) if isinstance(value, int) else float(value)
        return f'<c r="{place}"><v>{number!r}</v></c>'
    # control signs are not allowed in XML
    text = "".join(sign for sign in str(value) if sign >= " " or sign in "\t\n")
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(text)}</t></is></c>'


def _letters(place: int) -> str:
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
