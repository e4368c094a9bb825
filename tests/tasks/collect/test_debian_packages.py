"""Descriptions of Debian's packages, with what a model may say of them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.collect.document_writer import Documents
from tasks.collect.sources import debian_packages
from tasks.collect.sources.debian_packages import DebianSource
from tasks.core.errors import DataError
from tasks.text import targets

INDEX = """\
Package: kettle
Version: 1.2-1
Installed-Size: 1000
Section: contrib/games
Tag: interface::text-mode, role::program,
 use::gameplaying, works-with::text
Description: game of tea
 You make tea.
 .
 And drink it.
Filename: pool/k.deb

Package: bare
Description: no size and no tags

Package: silent
Section: libs
"""


def read(folder: Path, index: Path, **options: Any) -> pl.DataFrame:
    conf = DebianSource.model_validate({"kind": "debian_packages", "indexes": [str(index)], **options})
    with Documents(folder / "docs.parquet", folder / "notes", "debian", targets=conf.has_targets) as documents:
        debian_packages.read(debian_packages.entries("debian", conf), conf, documents, folder)
    return pl.read_parquet(folder / "docs.parquet")


@pytest.mark.parametrize("name", ["Packages", "Packages.gz"])
def test_a_package_is_its_description_with_section_size_and_tags(tmp_path: Path, name: str) -> None:
    index = tmp_path / name
    index.write_bytes(gzip.compress(INDEX.encode()) if name.endswith(".gz") else INDEX.encode())
    found = read(tmp_path, index)
    assert found["text"].to_list() == ["game of tea\nYou make tea.\n\nAnd drink it.", "no size and no tags"]
    assert found["label"].to_list() == ["games", None] and found["uri"][0] == f"{name}#kettle"
    labels = ["interface::text-mode", "role::program", "use::gameplaying", "works-with::text"]
    assert [targets.read(one) for one in found["targets"]] == [{"number": 3.0, "labels": labels}, {}]


def test_facets_are_chosen_and_packages_counted(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text(INDEX)
    found = read(tmp_path, tmp_path / "Packages", facets=["use"])
    assert targets.read(found["targets"][0])["labels"] == ["use::gameplaying"]
    assert read(tmp_path, tmp_path / "Packages", max_packages=1).height == 1


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (None, r"Packages cannot be read: .*No such file.*data\.sources\.debian\.indexes"),
        (b"Package: a\n", r"knows no package: name a Packages file"),
    ],
)
def test_an_index_that_is_none_is_named_with_the_option(tmp_path: Path, made: bytes | None, words: str) -> None:
    if made is not None:
        (tmp_path / "Packages").write_bytes(made)
    with pytest.raises(DataError, match=words):
        read(tmp_path, tmp_path / "Packages")


def test_an_index_that_changes_before_it_is_read_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "Packages"
    index.write_text(INDEX)
    conf = DebianSource(kind="debian_packages", indexes=(str(index),))
    held = debian_packages.entries("debian", conf)
    index.write_text(INDEX.replace("tea", "coffee"))
    documents = Documents(tmp_path / "docs.parquet", tmp_path / "notes", "debian", targets=True)
    with documents, pytest.raises(DataError, match="has changed since it was listed"):
        debian_packages.read(held, conf, documents, tmp_path)
