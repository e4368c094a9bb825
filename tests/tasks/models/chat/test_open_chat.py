"""Chat models made from open ones: each architecture with its tokenizer, read again by transformers alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from conf.schema.finetune import FinetuneRun
from tasks.core.workdir import Workdir
from tasks.finetune import chat_template, fetching, starting
from tasks.models.chat import chat_training
from tasks.models.chat.chat_options import ChatConf
from tests.tasks.finetune.families import write_family
from tests.tasks.tiny_model import lora

CONF = ChatConf(batch_size=8, eval_every=8, method=lora(2), run=FinetuneRun(device="cpu", threads=1))


@pytest.mark.parametrize("name", ["gemma", "gpt2", "llama", "qwen3"])
def test_a_tuned_open_model_is_what_transformers_loads_and_writes_its_conversations_so(
    name: str, docs_dir: Path, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / name, name)
    if name in ("gemma", "llama"):  # as stock models have it: without marks
        about = json.loads((folder / "tokenizer_config.json").read_text())
        template = re.sub(r"{% (end)?generation %}", "", about["chat_template"])
        (folder / "tokenizer_config.json").write_text(json.dumps({**about, "chat_template": template}))
    identity, conf = starting.in_folder(str(folder), f"models.chat.start={folder}")
    starting.check_fits(conf, ("causal",), "chat", True)
    brought, tuned = Workdir(tmp_path / "brought"), Workdir(tmp_path / "tuned")
    brought.make(), tuned.make()
    fetching.run(identity, conf, brought)
    stats = chat_training.run(brought.content / "model", [docs_dir], CONF, tuned)
    assert stats["steps"] > 0 and stats["answer_tokens_left_out"] == 0
    talk = pl.read_parquet(docs_dir / "train" / "docs.parquet")["messages"].drop_nulls()[0].to_list()
    theirs = AutoTokenizer.from_pretrained(tuned.content / "model", local_files_only=True)
    ids, written = chat_template.render(theirs, talk)
    assert theirs.apply_chat_template(talk)["input_ids"] == ids and sum(written)
    said = theirs.decode([token for token, flag in zip(ids, written, strict=True) if flag])
    assert said == "".join(f"{turn['content']}<|end|>" for turn in talk if turn["role"] == "assistant")
    start, made = (
        AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32) for one in (folder, tuned.content / "model")
    )
    with torch.inference_mode():
        losses = [one.eval()(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() for one in (start, made)]
    assert losses[1] < losses[0], "it has learnt"
    assert (
        made.generation_config.eos_token_id
        and theirs.convert_tokens_to_ids("<|end|>") in made.generation_config.eos_token_id
    )
