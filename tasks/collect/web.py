"""The main text of web pages, as trafilatura finds it."""

from __future__ import annotations

from dataclasses import replace

from tasks.collect.formats import Row


def main_text(row: Row) -> Row:
    """A row whose field "text" is a page's HTML, with its main text in place of it; empty where it has none."""
    import trafilatura

    if row.values is None:
        return row
    # its own deduplication remembers earlier pages, which would make a page's text depend on what was read before
    found = trafilatura.extract(row.values["text"], include_comments=False, deduplicate=False)
    return replace(row, values={"text": found or ""})
