"""What the validation is told before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pytest

from conf.schema.validate import ValidateConf
from tasks.core.errors import ConfigError
from tasks.validate import suites
from tasks.validate.corpus_rules import in_full, judged, rules_of


@dataclass
class Fetched:
    shard: str

    def part(self, name: str) -> str:
        return f"{self.shard}/{name}"


def test_another_kinds_suite_and_comments_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copytree(suites.FOLDER, tmp_path / "suites")
    monkeypatch.setattr(suites, "FOLDER", tmp_path / "suites")
    own, both = rules_of(ValidateConf(), ["a"], ["files"]), rules_of(ValidateConf(), ["a", "b"], ["files", "http"])
    (tmp_path / "suites/http.yaml").write_text("- {expectation: expect_column_to_exist, column: id, table: sample}\n")
    with (tmp_path / "suites/files.yaml").open("a") as file:
        file.write("# as before\n")
    assert rules_of(ValidateConf(), ["a"], ["files"]) == own
    assert rules_of(ValidateConf(), ["a", "b"], ["files", "http"]) != both


def test_limits_are_an_input_and_no_option_so_that_another_one_forgets_no_accepted_corpus() -> None:
    strict = ValidateConf.model_validate(
        {"drift": {"max_divergence": 0.01}, "quarantine": {"set_aside": "shards"}, "full_shards": 2}
    )
    assert strict.for_key() == ValidateConf().for_key()
    assert rules_of(strict, ["a"], ["files"]) != rules_of(ValidateConf(), ["a"], ["files"])
    assert ValidateConf(full_shards=3).for_key() != ValidateConf().for_key()


def test_a_shard_to_release_that_is_not_there_is_refused() -> None:
    conf = ValidateConf.model_validate({"quarantine": {"release": ["mine-001", "mine-009"]}})
    with pytest.raises(ConfigError, match=r"release names mine-009, which is no shard here; there are: mine-001"):
        rules_of(conf, ["mine-001"], ["files"])


def test_an_expectation_for_a_kind_of_which_there_is_no_source_is_refused() -> None:
    own = {"expectation": "expect_column_to_exist", "column": "rows", "kinds": ["file"]}
    with pytest.raises(ConfigError, match="for the kind file, of which no source is here; there are: files, http"):
        rules_of(ValidateConf.model_validate({"expectations": [own]}), ["a", "b"], ["http", "files"])
    with pytest.raises(ValueError, match="the table corpus is of all kinds"):
        ValidateConf.model_validate({"expectations": [own | {"table": "corpus"}]})


def test_the_shards_that_are_checked_in_full_do_not_depend_on_the_others() -> None:
    shards = [Fetched(f"own-{n:03d}") for n in range(20)]
    chosen = in_full(shards, ValidateConf(full_shards=3))
    assert chosen == in_full(shards[::-1], ValidateConf(full_shards=3)) and len(chosen) == 3
    assert chosen == in_full([*chosen, *(one for one in shards[::2] if one not in chosen)], ValidateConf(full_shards=3))
    assert in_full(shards, ValidateConf(full_shards=0)) == ()


def test_the_verdict_goes_on_shard_by_shard_only_if_shards_are_set_aside() -> None:
    aside = ValidateConf.model_validate({"quarantine": {"set_aside": "shards"}})
    assert judged(Fetched("verdict"), ["a", "b"], aside) == ["verdict/a", "verdict/b"]
    assert judged(Fetched("verdict"), ["a", "b"], ValidateConf()) == [None, None]
