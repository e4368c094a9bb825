"""A chat model from an open one, through the command: found, brought, tuned, registered with where it came from."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.pipeline_process import House
from tests.tasks.finetune.families import CONTEXT, write_family

OTHERS = ("models.base=null", "models.chat=null", "models.classifier=null")
CARD = "---\nlicense: llama3\nbase_model: own/big\n---\n# Not ours\n"
PRETRAINING = {"train_tokenizer", "tokenize_shard", "check_tokens", "pretrain"}


def test_a_folder_becomes_a_registered_chat_model_that_says_where_it_came_from(house: House, tmp_path: Path) -> None:
    folder = write_family(tmp_path / "someone's", "llama")
    (folder / "README.md").write_text(CARD)
    where = os.path.relpath(folder, house.tree)
    train = "train: {max_conversations: 12, batch_size: 4, run: {threads: 1}}"
    measured = f"evaluate: {{window: {CONTEXT}, stride: 32, resamples: 200, run: {{threads: 1}}}}"
    how = f"{train}, {measured}, gate: {{min_items: 2, floors: []}}, register: tiny-tuned"
    given = (*OTHERS, f'models.tuned={{kind: chat, start: "./{where}", {how}}}')
    planned = house.plan(*given)
    assert {row["step"] for row in planned.rows} & PRETRAINING == set(), "nothing starts from what is pretrained"
    (row,) = planned.to("run").values()
    assert (row["step"], row["estimate"]["parameters"]) == ("fetch_model", 15568)
    assert row["foreseen"].startswith(f"{house.tree / where}: LlamaForCausalLM, 15,568 parameters, ")
    assert row["foreseen"].endswith("licence llama3, made from own/big")
    ran = house.run(*given)
    made = {"fetch_model[tuned]", "finetune_chat", "evaluate_chat", "register_model", "gate", "promote_model"}
    assert {label.partition("[")[0] for label in ran.made()} == {label.partition("[")[0] for label in made}
    (model,) = ran.json["models"]
    assert (model["name"], model["aliases"]) == ("tiny-tuned", ["champion"])
    assert house.plan(*given).hits()
    again = house.plan(*given, "--refresh", "finetune").to("run")["finetune_chat"]
    assert "of the answers' tokens will carry a loss" in again["foreseen"], "by the start's own tokenizer"
    assert f"longer than {CONTEXT} tokens" in again["foreseen"]

    found = json.loads(house.say("lineage", "tiny-tuned@champion", "--json").out)
    brought = next(one for one in found["inputs"] if one["step"] == "fetch_model")
    assert brought["inputs"] == []
    report = Path(ran.json["urls"]["report"]).read_text()
    assert "open model, licence llama3" in report
    (card,) = [path.read_text() for path in (house.home / "mlflow").rglob("artifacts/model/README.md")
               if path.read_text().startswith("# tiny-tuned")]  # fmt: skip
    assert "It was made from a model of others, named below." in card
    assert "| someone's | LlamaForCausalLM | 15,568 | llama3 | own/big |" in card
    assert house.say("generate", "tiny-tuned@champion", "Hello", "--max-new-tokens", "4").out

    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(raw)
    planned = house.plan(*given)
    assert {row["step"] for row in planned.to("run").values()} == {"fetch_model"}
    assert "finetune_chat" in {row["step"] for row in planned.to("wait").values()}


def test_a_language_model_goes_on_with_texts_of_one_s_own_and_has_to_beat_what_it_was(
    house: House, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "theirs", "qwen2", chats=False)
    where = os.path.relpath(folder, house.tree)
    train = "train: {max_documents: 12, epochs: 2, batch_size: 4, learning_rate: 0.01, run: {threads: 1}}"
    measured = f"evaluate: {{window: {CONTEXT}, stride: 32, resamples: 200, run: {{threads: 1}}}}"
    how = f"method: {{kind: lora, rank: 4}}, {train}, {measured}, register: tiny-more"
    given = (*OTHERS, f'models.more={{kind: causal_lm, start: "./{where}", gate: {{min_items: 2}}, {how}}}')
    ran = house.run(*given, code=4)
    assert {"finetune_lm", "score_before", "evaluate_lm"} <= ran.made()
    decisions = [found["stats"] for found in house.manifests("gate")]
    (decision,) = [one for one in decisions if {floor["baseline"] for floor in one["floors"]} == {"gzip", "untuned"}]
    assert {floor["baseline"]: floor["holds"] for floor in decision["floors"]} == {"gzip": False, "untuned": True}
    (model,) = ran.json["models"]
    assert (model["name"], model["aliases"]) == ("tiny-more", []), "it learnt, and is far from gzip"
    assert house.plan(*given).to("run").keys() == {"promote_model"}, "what was refused is asked again"
