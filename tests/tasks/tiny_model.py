"""A random llama of a few thousand parameters, its tokenizer, and small documents tables: input for stage tests."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from conf.schema.methods import AdapterMethod

SCHEMA = {
    "id": pl.String,
    "text": pl.String,
    "source": pl.String,
    "uri": pl.String,
    "licence": pl.String,
    "label": pl.String,
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
}
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{% generation %}{{ m['content'] }}<|end|>"
    "{% endgeneration %}{% else %}<|user|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = {
    "numpy": ["array", "dtype", "broadcast", "axis", "ufunc", "matrix", "shape", "stride"],
    "pandas": ["frame", "column", "index", "groupby", "series", "merge", "label"],
    "click": ["command", "option", "prompt", "terminal", "group", "argument", "echo"],
}


def lora(rank: int, dropout: float = 0.0) -> AdapterMethod:
    """Low-rank adapters."""
    return AdapterMethod(kind="lora", rank=rank, dropout=dropout)


def table(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    """A documents table; ids follow from source and text, missing columns are filled in."""
    filled = []
    for row in rows:
        full = {"source": "unit", "uri": "a.txt", "licence": "MIT", "label": None, "messages": None, **row}
        name = f"{full['source']}\0{full['text']}".encode()
        filled.append({"id": hashlib.sha256(name).hexdigest()[:32], **full})
    return pl.DataFrame(filled, schema=SCHEMA)


def labelled_rows(count: int, seed: int) -> list[dict[str, object]]:
    """Documents whose words give their label away; the label's name stands in each."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for n in range(count):
        label = rng.choices(list(WORDS), weights=[4, 2, 1])[0]
        body = " ".join(rng.choices(WORDS[label], k=rng.randint(4, 12)))
        rows.append({"text": f"{label} {seed}.{n}: {body}", "label": label, "source": "packages"})
    return rows


def chat_rows(count: int, seed: int) -> list[dict[str, object]]:
    """Conversations in which the assistant repeats the user's word."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for n in range(count):
        messages = []
        for _ in range(rng.randint(1, 3)):
            word = rng.choice(WORDS["numpy"])
            messages.append({"role": "user", "content": f"say {word} {seed}.{n}"})
            messages.append({"role": "assistant", "content": f"{word}, of course"})
        text = "\n".join(f"{m['role']}: {m['content']}" for m in messages)
        rows.append({"text": text, "messages": messages, "source": "chat"})
    return rows


def write_docs(folder: Path, train: int = 60, valid: int = 16) -> Path:
    """The train and valid parts of one shard, `train` and `valid` documents of each kind."""
    for part, count, seed in (("train", train, 1), ("valid", valid, 2)):
        target = folder / part / "docs.parquet"
        target.parent.mkdir(parents=True)
        table(labelled_rows(count, seed) + chat_rows(count, seed)).write_parquet(target)
    return folder


def write_model(folder: Path, hidden: int = 16, context: int = 64) -> Path:
    """A random llama with a byte-level BPE of 320 tokens, as the pretraining step would write it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator((str(row["text"]) for row in labelled_rows(50, 0) + chat_rows(50, 0)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=special[0], additional_special_tokens=special[1:], model_max_length=context
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
