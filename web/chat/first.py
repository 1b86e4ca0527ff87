"""The first drawing: the notes that came with the page, in the reader's own time zone.

Owns nothing but that. It runs before PyScript does and imports few modules: to load the others, and PyScript's own,
takes as long again, and the list need not wait for them. It never connects.
"""

from datetime import date

import msgspec
from js import document, performance

from hub.page.note_html import rows
from hub.protocol import Page


def draw(page: Page) -> None:
    """Draw the notes of the page, below the row that is above them already."""
    above = document.getElementById("edge").outerHTML
    html = "".join(row.html for row in rows(page.notes, None, date.today()))
    document.getElementById("notes").innerHTML = above + html


page = msgspec.json.decode(document.getElementById("data").textContent, type=Page | None)
if page is not None:
    draw(page)
document.documentElement.dataset.drawn = str(performance.now())
