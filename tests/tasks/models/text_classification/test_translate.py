"""Examples translated there and back by models whose every word is known."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load, save_file

from conf.schema.finetune import FinetuneRun
from tasks.core import events
from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.models.text_classification import augment, classifier_training, translate, translators
from tasks.models.text_classification.classifier_options import (
    AugmentConf,
    BackTranslationConf,
    ClassifyConf,
    TranslateConf,
)
from tasks.views.terminal.progress_bars import Board
from tests.tasks.finetune.translator import write_translator
from tests.tasks.tiny_model import WORDS, write_docs

KNOWN = [word for words in WORDS.values() for word in words]
Paths = dict[str, Path]


@pytest.fixture(scope="module")
def docs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_docs(tmp_path_factory.mktemp("few"), train=30)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """To capital letters and back, where "axis" has become "numpy"."""
    folder = tmp_path_factory.mktemp("translators")
    capitals = {word: word.upper() for word in KNOWN}
    back = {capital: word for word, capital in capitals.items()} | {"AXIS": "numpy"}
    return {
        "there": write_translator(folder / "there", {**capitals, "LIB": "NAME", "please": "please"}),
        "back": write_translator(folder / "back", {**back, "NAME": "LIB", "please": "please"}),
        "lost": write_translator(folder / "lost", dict.fromkeys(back, "</s>")),
    }


def conf_of(models: Paths, *, copies: int = 1, seed: int = 0, **translate: Any) -> TranslateConf:
    named = {name: {"model": str(models[name])} for name in ("there", "back")}
    how = BackTranslationConf.model_validate({**named, "max_tokens": 20, "batch": 7, "temperature": 0, **translate})
    run = FinetuneRun(device="cpu", threads=1)
    changes = AugmentConf(copies=copies, translate=how)
    return TranslateConf(classify=ClassifyConf(min_per_class=2, mask_labels=True, augment=changes, seed=seed, run=run))


def translated(conf: TranslateConf, docs: Path, folder: Path) -> tuple[Stats, pl.DataFrame, Workdir]:
    work = Workdir(folder)
    work.make()
    identities, _ = translators.observe_translators(conf.translate, None)
    stats = translate.run([docs], identities, conf, work)
    return stats, pl.read_parquet(work / "copies.parquet"), work


def originals(docs: Path) -> dict[str, str]:
    return dict(classifier_training.labelled([docs / "train" / "docs.parquet"], None).select("id", "text").iter_rows())


def test_examples_come_back_with_their_words_in_order_and_names_hidden_before_and_after(
    models: Paths, docs_dir: Path, tmp_path: Path
) -> None:
    stats, found, _ = translated(conf_of(models), docs_dir, tmp_path)
    texts = originals(docs_dir)
    assert stats["copies"] == found.height == len(texts) and stats["empty"] == 0
    for id_, number, text in found.iter_rows():
        words = ["LIB" if word in ("axis", *WORDS) else word for word in texts[id_].split()]
        assert number == 0 and text.split() == [word for word in words if word in (*KNOWN, "LIB")]
    assert any("axis" in text for text in texts.values())


def test_a_translation_tells_how_far_it_is_over_both_ways_and_goes_on_counting(
    models: Paths, docs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "EVERY", 0.0)
    board, heard = Board(), list[events.Event]()
    board.expect([("finetune", "translate_examples")])
    board.started("translate_examples")
    shares: list[float] = []

    def hear(event: events.Event) -> None:
        board.event("translate_examples", event)
        heard.append(event)
        shares.append(board.stages["finetune"].share)

    with events.heard_by(hear):
        stats, _, work = translated(conf_of(models), docs_dir, tmp_path)
    batches = 2 * -(-stats["copies"] // 7)
    assert [(event.done, event.total, event.unit) for event in heard] == [
        (number, batches, "batch") for number in range(1, batches + 1)
    ]
    assert shares == sorted(shares) and shares[-1] == 1.0 and heard[-1].left == 0
    sorted((work.scratch / "back").glob("*.json"))[-1].unlink()
    heard.clear()
    with events.heard_by(hear):
        translated(conf_of(models), docs_dir, tmp_path)
    assert [event.done for event in heard] == [batches], "what was done before counts"


def test_beams_find_the_likeliest_translation_too(models: Paths, docs_dir: Path, tmp_path: Path) -> None:
    _, greedy, _ = translated(conf_of(models), docs_dir, tmp_path / "1")
    assert translated(conf_of(models, beams=3), docs_dir, tmp_path / "2")[1].equals(greedy)


def test_drawn_copies_differ_and_depend_on_example_number_and_seed_alone(
    models: Paths, docs_dir: Path, tmp_path: Path
) -> None:
    drawn = conf_of(models, copies=2, temperature=2, batch=32)
    _, found, work = translated(drawn, docs_dir, tmp_path / "1")
    first, second = found.filter(number=0), found.filter(number=1)
    assert first["id"].equals(second["id"]) and (first["text"] != second["text"]).mean() > 0.9  # type: ignore[operator]
    _, again, other = translated(drawn, docs_dir, tmp_path / "2")
    assert hash_file(work / "copies.parquet") == hash_file(other / "copies.parquet")
    _, batches, _ = translated(conf_of(models, copies=2, temperature=2, batch=23), docs_dir, tmp_path / "3")
    assert (batches["text"] == again["text"]).mean() > 0.95  # type: ignore[operator]  # sums round differently
    _, seeded, _ = translated(conf_of(models, copies=2, temperature=2, batch=32, seed=1), docs_dir, tmp_path / "4")
    assert (seeded["text"] == again["text"]).mean() < 0.1  # type: ignore[operator]


def test_a_share_of_the_copies_is_translated_and_the_others_are_changed_word_by_word(
    models: Paths, docs_dir: Path, tmp_path: Path
) -> None:
    conf = conf_of(models, copies=2, share=0.3, temperature=1)
    stats, found, _ = translated(conf, docs_dir, tmp_path)
    chosen = classifier_training.examples([docs_dir], conf.classify)
    assert 0.15 < stats["copies"] / (2 * chosen.table.height) < 0.45
    assert conf.classify.augment
    table = chosen.hidden(conf.classify)
    mixed = augment.copies(table, conf.classify.augment, 0, found)
    plain = augment.copies(table, conf.classify.augment, 0)
    ready = {(id_, number): text for id_, number, text in found.iter_rows()}
    which = augment.numbered(table, 2).select("id", "number").rows()
    expected = [ready.get(one, text) for one, text in zip(which, plain["text"], strict=True)]
    assert mixed["text"].to_list() == expected


def test_a_copy_of_which_nothing_is_left_is_counted_and_not_trained_on(
    models: Paths, docs_dir: Path, tmp_path: Path
) -> None:
    conf = conf_of({**models, "back": models["lost"]})
    stats, found, _ = translated(conf, docs_dir, tmp_path)
    assert stats["empty"] == stats["copies"] == found.height and set(found["text"]) == {""}
    assert conf.classify.augment
    hidden = classifier_training.examples([docs_dir], conf.classify).hidden(conf.classify)
    assert augment.copies(hidden, conf.classify.augment, 0, found).height == 0


def test_long_texts_are_cut_and_counted_and_a_prefix_stands_before_each(
    models: Paths, docs_dir: Path, tmp_path: Path
) -> None:
    there = {"model": str(models["there"]), "prefix": "please "}
    stats, found, _ = translated(conf_of(models, there=there, max_tokens=8), docs_dir, tmp_path)
    assert all(text.startswith("please LIB") and len(text.split()) <= 8 for text in found["text"])
    assert stats["cut"]["there"] == sum(len(text.split()) + 2 > 8 for text in originals(docs_dir).values()) > 0


def test_the_language_is_the_first_token_that_is_written(models: Paths, docs_dir: Path, tmp_path: Path) -> None:
    back = {"model": str(models["back"]), "target_language": "merge"}
    _, found, _ = translated(conf_of(models, back=back), docs_dir, tmp_path / "1")
    assert all(text.split()[0] == "merge" for text in found["text"])
    for option in ("source_language", "target_language"):
        with pytest.raises(ConfigError, match=r"translate\.back\.model=.*knows no language 'deu_Latn'"):
            translated(conf_of(models, back={**back, option: "deu_Latn"}), docs_dir, tmp_path / "2")


def test_batches_that_were_done_when_it_was_killed_are_taken_over(
    models: Paths, docs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = conf_of(models, temperature=2)
    _, _, undisturbed = translated(conf, docs_dir, tmp_path / "1")
    real, left = translate.Translator._batch, [6]
    made: list[int] = []

    def killed(self: translate.Translator, texts: Any, draws: Any) -> list[str]:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        made.append(len(texts))
        return real(self, texts, draws)

    monkeypatch.setattr(translate.Translator, "_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        translated(conf, docs_dir, tmp_path / "2")
    assert Workdir(tmp_path / "2").progress == 6
    left[0] = 99
    _, _, resumed = translated(conf, docs_dir, tmp_path / "2")
    assert hash_file(resumed / "copies.parquet") == hash_file(undisturbed / "copies.parquet")
    assert sum(made) == 2 * len(originals(docs_dir)), "no text is translated twice"


def test_tokens_are_drawn_as_often_as_the_model_finds_them_likely() -> None:
    rows, chances = 4000, np.array([0.0, 0.5, 0.3, 0.2, 0.0])
    draw = translate.Drawn([str(n) for n in range(rows)], most=2, temperature=1.0)
    with np.errstate(divide="ignore"):
        scores = torch.tensor(np.log(chances), dtype=torch.float32).repeat(rows, 1)
    for length in (3, 4):
        drawn = draw(torch.zeros(rows, length, dtype=torch.long), scores)
        assert (torch.isfinite(drawn).sum(-1) == 1).all()
        found = Counter(drawn.argmax(-1).tolist())
        assert all(abs(found[token] / rows - chance) < 0.03 for token, chance in enumerate(chances))
        assert found[0] == found[4] == 0
    cold = translate.Drawn([str(n) for n in range(rows)], most=2, temperature=0.1)
    assert (cold(torch.zeros(rows, 1), scores).argmax(-1) == 1).float().mean() > 0.98


def test_a_model_that_transformers_cannot_load_is_named_by_its_option(
    models: Paths, docs_dir: Path, tmp_path: Path
) -> None:
    broken = write_translator(tmp_path / "broken", {"array": "Feld"})
    weights = load((broken / "model.safetensors").read_bytes())
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"translate\.there\.model=.*broken: cannot be loaded as a sequence-to-seq"):
        translated(conf_of({**models, "there": broken}), docs_dir, tmp_path / "1")
    lost = "model.decoder.layers.0.encoder_attn.v_proj.weight"
    save_file(
        {name: held for name, held in weights.items() if name != lost}, broken / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ConfigError, match=rf"broken: its weights lack {lost} of 1"):
        translated(conf_of({**models, "there": broken}), docs_dir, tmp_path / "2")
    unpadded = write_translator(tmp_path / "unpadded", {"array": "Feld"})
    about = json.loads((unpadded / "tokenizer_config.json").read_text())
    (unpadded / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in about.items() if k != "pad_token"}))
    with pytest.raises(ConfigError, match="its tokenizer has no pad token"):
        translated(conf_of({**models, "there": unpadded}), docs_dir, tmp_path / "3")
