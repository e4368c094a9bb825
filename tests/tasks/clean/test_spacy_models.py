"""What finds names, looked at before anything runs."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from conf.schema.clean import CleanConf, NamesConf
from tasks.clean import spacy_models as module
from tasks.clean import steps
from tasks.clean.spacy_models import recogniser
from tasks.core.errors import ConfigError, HostError
from tasks.core.plan.keys import made_from
from tasks.core.step import Call


def test_nothing_is_looked_for_where_names_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENGINES", ("not-there",))
    assert recogniser(None) is None


def test_the_versions_are_those_that_are_installed_and_the_models_its_bytes(names_model: Path, tmp_path: Path) -> None:
    found = recogniser(NamesConf(model=str(names_model)))
    assert found is not None and found["spacy"] == version("spacy")
    assert found["presidio-analyzer"] == version("presidio-analyzer")
    copy = Path(shutil.copytree(names_model, tmp_path / "copy"))
    assert (recogniser(NamesConf(model=str(copy))) or {})[str(copy)] == found[str(names_model)]
    (copy / "more").write_text("x")
    assert (recogniser(NamesConf(model=str(copy))) or {})[str(copy)] != found[str(names_model)]


def test_a_missing_package_or_model_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, names_model: Path
) -> None:
    with pytest.raises(HostError, match=rf"no spaCy model en_core_web_xs .*{sys.executable} -m spacy download"):
        recogniser(NamesConf(model="en_core_web_xs"))
    with pytest.raises(HostError, match="no spaCy model numpy is installed"):
        recogniser(NamesConf(model="numpy"))
    monkeypatch.setattr(module, "ENGINES", ("presidio-of-old",))
    with pytest.raises(HostError, match=r"data\.clean\.names: .* -m pip install presidio-of-old"):
        recogniser(NamesConf(model=str(names_model)))


def test_a_model_without_names_of_a_kind_is_refused(names_model: Path, tmp_path: Path) -> None:
    people = Path(shutil.copytree(names_model, tmp_path / "people"))
    meta = (people / "meta.json").read_text()
    (people / "meta.json").write_text(meta.replace('"GPE"', '"DATE"').replace('"LOC"', '"TIME"'))
    assert recogniser(NamesConf(model=str(people), kinds=("person",)))
    with pytest.raises(ConfigError, match=r"knows no names of the kind place: its labels are .*PERSON"):
        recogniser(NamesConf(model=str(people)))


def test_the_key_of_the_cleaning_holds_the_versions_only_where_names_are_replaced(
    names_model: Path,
) -> None:
    def key(conf: NamesConf | None, **other: str) -> dict[str, object]:
        found = recogniser(conf)
        return made_from(Call(steps.clean_shard, ("docs", found and found | other), CleanConf(names=conf)))

    conf = NamesConf(model=str(names_model))
    assert key(conf) == key(conf) != key(conf, spacy="3.9")
    assert key(None)["inputs"] == [{"value": "docs"}, None]
