"""docs/options.md: what the schema has, and nothing else."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pydantic import BaseModel

from conf import reference
from conf.paths import has_option
from conf.schema.data import SOURCES
from conf.schema.recipe import Recipe
from tasks.core import plugins

PAGE = reference.PAGE.read_text()
LISTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
SAME = {there: here for there, here in re.findall(r"^\| `([^`]+)\.…` .*The same options as `([^`]+)\.…`", PAGE, re.M)}


def walked(annotation: object, path: str = "") -> set[str]:
    """Every path of the schema at which there is an option: without NAME and [], which say how it is written."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found = set()
        for name, field in annotation.model_fields.items():
            full = f"{path}.{name}".lstrip(".")
            found |= walked(field.annotation, full) or {full}
        return found
    return set().union(*(walked(part, path) for part in get_args(annotation)))


def test_the_page_is_what_the_schema_says_today() -> None:
    assert reference.page() == PAGE, "make options writes it anew"


def test_every_option_of_the_schema_is_on_the_page() -> None:
    listed = {re.sub(r"\.NAME|\[\]", "", path) for path in LISTED}
    for there, here in ((re.sub(r"\.NAME|\[\]", "", side) for side in pair) for pair in SAME.items()):
        listed |= {path.replace(here, there, 1) for path in listed if path.startswith(f"{here}.")}
    assert len(listed) > 400
    assert walked(Recipe) - listed == set()


def test_every_option_on_the_page_can_be_given_as_it_stands() -> None:
    plain = [path for path in LISTED if "[]" not in path and "…" not in path]
    assert [path for path in plain if not has_option(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "| `tokenizer.vocab_size` | int, ≥ 300 | `4096` | Tokens in the vocabulary, ",
        "| `pretrain.segments.NAME.tokens` | int, > 0 | *required* | Budget in tokens, ",
        "| `model.width` | int, > 0 | *follows* | Of native: Size of a token's vector ",
        f"| `data.sources.NAME.kind` | {', '.join(f'`{kind}`' for kind in plugins.names(*SOURCES))} | ",
        "| `models.NAME.gate.floors` | list of `majority`, `naive_bayes`, `logistic` | `[",
        "| `engine.cpus` | int or `null`, ≥ 1 | `null` |",
        "| `data.clean.rules_by_source.NAME.…` |  |  | The same options as `data.clean.rules.…`. |",
    ],
)
def test_a_line_says_type_range_default_and_what_it_is(line: str) -> None:
    assert f"\n{line}" in PAGE


def test_nothing_of_a_text_is_taken_for_markdown() -> None:
    assert reference.line("a", "text", "`1`", "of <ROLE>, ** and `<b|c>`") == (
        "| `a` | text | `1` | of \\<ROLE>, \\*\\* and `<b\\|c>` |\n"
    )
