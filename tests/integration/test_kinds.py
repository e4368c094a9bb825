"""Kinds of models that learn from what columns say, through the command: found in the data, trained, measured beside
their baselines, registered, asked."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.pipeline_process import House
from tests.tasks.finetune.families import write_family
from tests.tasks.models.sequence.test_sequence import write_start
from tests.tasks.tiny_model import WORDS, write_model

TRAIN = "epochs: 1, batch_size: 8, learning_rate: 0.005, run: {threads: 1}"
GATE = "gate: {min_items: 2, floors: []}, evaluate: {resamples: 100, run: {threads: 1}}"
KINDS = {
    "stars": ("text_regression", "bert", f"train: {{{TRAIN}}}, {GATE}"),
    "names": ("token_classification", "bert", f"train: {{{TRAIN}}}, {GATE}"),
    "better": ("preference", "llama", f"train: {{{TRAIN}, loss: ipo}}, gate: {{min_items: 2, floors: []}}, "
               "evaluate: {window: 64, stride: 32, resamples: 100, samples: {max_new_tokens: 2}}"),
    "english": ("translation", "t5", f"train: {{{TRAIN}, target_length: 32}}, {GATE}"),
}  # fmt: skip
STEPS = {"regression", "spans", "preference", "translation"}


def rows(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Texts with all that may be said of one, and pairs of answers."""
    draw, texts, pairs = random.Random(0), [], []
    for n in range(count):
        words = draw.choices(WORDS["numpy"] + WORDS["pandas"], k=12)
        text = f"{' '.join(words)} of number {n}"
        spans = [{"start": 0, "end": len(words[0]), "label": "FIRST"}]
        texts.append({"text": text, "stars": n % 5, "found": spans, "other": " ".join(words[:3])})
        said = {"prompt": f"{' '.join(words)} {n}?", "chosen": f"{words[0]} it is", "rejected": f"never {words[1]}"}
        pairs.append(said)
    return texts, pairs


def test_of_what_columns_say_four_kinds_are_made_and_asked(house: House, tmp_path: Path) -> None:
    for name, found in zip(("texts", "pairs"), rows(160), strict=True):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in found))
    starts = {name: write_family(tmp_path / name, name) for name in ("bert", "llama")}
    starts["t5"] = write_start(tmp_path / "t5", write_model(tmp_path / "words"), "t5")
    columns = "columns: {number: stars, spans: found, target: other}"
    talks = "turns: {user: [prompt], assistant: [chosen]}, columns: {rejected: rejected}"
    sources = (
        f'{{texts: {{kind: files, paths: ["{tmp_path}/texts.jsonl"], {columns}}}, '
        f'pairs: {{kind: files, paths: ["{tmp_path}/pairs.jsonl"], {talks}}}}}'
    )
    models = [
        f'models.{name}={{kind: {kind}, start: "{starts[start]}", {how}, register: tiny-{name}}}'
        for name, (kind, start, how) in KINDS.items()
    ]
    given = ("models.base=null", "models.chat=null", "models.classifier=null", f"data.sources={sources}",
             "data.clean.rules.min_words=null", "data.evalset.version=2", *models)  # fmt: skip
    ran = house.run(*given)
    assert {f"finetune_{name}" for name in STEPS} | {f"evaluate_{name}" for name in STEPS} <= ran.made()
    assert {model["name"]: model["aliases"] for model in ran.json["models"]} == {
        f"tiny-{name}": ["champion"] for name in KINDS
    }
    measured = {name: house.manifests(f"evaluate_{name}")[0]["stats"]["metrics"] for name in STEPS}
    assert "ridge_mae" in measured["regression"] and "dictionary_span_f1" in measured["spans"]
    assert "longer_preference_accuracy" in measured["preference"] and "copy_chrf" in measured["translation"]
    assert house.plan(*given).hits()
    planned = house.plan(*given, "--refresh", "finetune").to("run")
    assert all(planned[f"finetune_{name}"]["estimate"]["trained"] > 0 for name in STEPS)
    asked = {name: json.loads(house.say("predict", f"tiny-{name}@champion", "array axis", "--json").out)[0]
             for name in ("stars", "names")}  # fmt: skip
    assert isinstance(asked["stars"]["number"], float) and isinstance(asked["names"]["spans"], list)
    assert house.say("generate", "tiny-english@champion", "array axis", "--max-new-tokens", "4").out
