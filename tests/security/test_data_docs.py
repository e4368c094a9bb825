"""What stands in data is text in the pages about them, whatever it looks like."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import polars as pl

from conf.schema.validate import ExpectationConf
from tasks.validate import data_docs, expectations

EVIL = (
    '<meta http-equiv="refresh" content="0; url=https://evil.example/">',
    '<a href="https://evil.example/" style="position:fixed;inset:0">here</a>',
    '"><form action="https://evil.example/"><button autofocus>',
    "<svg onload=alert(1)>&lt;b&gt;$evil ${evil} {{ evil }}",
)


class Elements(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_value_of_data_is_markup_in_data_docs(tmp_path: Path) -> None:
    rows = pl.DataFrame({"shard": ["a"] * len(EVIL), "kind": ["files"] * len(EVIL), "text": EVIL})
    wanted = [
        ExpectationConf(expectation=name, column="text", kwargs=given, table="sample")
        for name, given in {
            "expect_column_values_to_match_regex": {"regex": "^x<b>$"},
            "expect_column_values_to_be_in_set": {"value_set": ["<i>one</i>"]},
            "expect_column_value_lengths_to_be_between": {"max_value": 3},
        }.items()
    ]
    outcomes, results = expectations.run(wanted, {"sample": rows})
    data_docs.write(tmp_path, EVIL[0], outcomes, results, {EVIL[1]: EVIL}, {EVIL[0]: EVIL[1]})
    for page in tmp_path.iterdir():
        found = Elements(page.read_text())
        for tag, attributes in found.tags:
            assert tag not in ("form", "svg", "script", "iframe"), f"{page.name} has a {tag}"
            assert tag != "meta" or attributes.get("http-equiv") != "refresh"
            assert "evil" not in "".join(value or "" for value in attributes.values())
        assert all(value in found.text for value in EVIL[:2]), f"{page.name} does not show what the data hold"
