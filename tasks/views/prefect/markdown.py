"""Markdown as Prefect's pages render it: tables, bars, links; text of data can do nothing in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.core import number_format
from tasks.core.run_warnings import Warned
from tasks.core.step import labelled

EIGHTHS = " ▏▎▍▌▋▊▉█"
LONGEST = 10_000
"""Characters of a cell."""


class Markup(str):
    """Text whose markup is meant; every other text is shown as it is."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with the columns that the rows have; columns of numbers stand to the right. Empty without rows."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    right = [all(_is_number(row.get(column)) for row in rows) for column in columns]
    lines = [columns, ["---:" if numbers else "---" for numbers in right]]
    lines += [[cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def cell(value: Any) -> str:
    """A value in a table; only what is `Markup` acts as such."""
    text = value if isinstance(value, Markup) else plain(said(value), LONGEST)
    return text.replace("|", "\\|").replace("\n", " ")


def said(value: Any) -> str:
    """A value in words; numbers with their thousands apart."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_format.number(value) if isinstance(value, (int, float)) else str(value)


def plain(text: str, most: int = 300) -> Markup:
    """Text from data as text: no markup of its own is taken for markup, and it is cut at `most` characters."""
    cut = " ".join(text[:most].split()) + (" …" if len(text) > most else "")
    safe = re.sub(r"[\\`*\[\]{}~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", cut)
    safe = safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(re.sub(r"(:)(?=//)|(?<=www)(\.)", r"\\\g<0>", safe))  # else addresses become links


def code(text: str) -> Markup:
    """A name or a key as code."""
    inside = " ".join(text.replace("`", "'").split())
    return Markup(f"`{inside}`")


def fence(text: str) -> str:
    """Text as a block of code that nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ends = "`" * max(3, longest + 1)
    return f"{ends}\n{text}\n{ends}"


def bar(part: float, whole: float, width: int = 16) -> str:
    """A horizontal bar of block characters, `width` characters wide for the whole."""
    filled = round(8 * width * max(0.0, min(1.0, part / whole))) if whole else 0
    return "█" * (filled // 8) + (EIGHTHS[filled % 8] if filled % 8 else "")


def link(text: str, url: str) -> Markup:
    """A link."""
    return Markup(f"[{plain(text)}]({url})")


def file_link(path: Path) -> str:
    """A link to a local file, and its path to be copied: browsers do not follow such links from a served page."""
    return f"{link('open', path.resolve().as_uri())}, or copy the path\n\n{fence(str(path.resolve()))}"


def join(*blocks: str | None) -> str:
    """Blocks with an empty line between; empty ones are left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def warnings(found: Sequence[Warned]) -> str:
    """What is warned of, and the options that change it, under a heading of its own; empty without any."""
    lines = [
        f"- ⚠ **{plain(labelled(one.step, one.shard))}**: {plain(one.text, LONGEST)}"
        + (f"  \n  Option: {plain(one.option, LONGEST)}" if one.option else "")
        for one in found
    ]
    return "\n".join(["## Warnings", "", *lines]) if lines else ""


def interval(metrics: Mapping[str, Any], name: str) -> Markup:
    """The interval of a metric, empty if it has none."""
    return Markup(number_format.interval(metrics.get(f"{name}_lo"), metrics.get(f"{name}_hi")))
