"""Small random models of real architectures with their kinds of tokenizer, trained on the spot, as a hub has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.tasks.tiny_model import TEMPLATE, chat_rows, labelled_rows

TEXTS = [str(row["text"]) for row in labelled_rows(60, 0) + chat_rows(60, 0)]
TURNS = ["<|user|>", "<|assistant|>", "<|end|>"]
"""The control tokens of the chat template."""
CONTEXT = 64


def byte_level(special: list[str], frame: tuple[str, str] | None = None) -> Tokenizer:
    """BPE on bytes, as GPT-2, RoBERTa, Llama 3 and Qwen have it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    return framed(made, frame)


def pieces(special: list[str], frame: tuple[str, str] | None = None) -> Tokenizer:
    """BPE on words that begin with ▁, with bytes for what it does not know, as Llama 2, Mistral and Gemma have it."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    all_bytes = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=460, special_tokens=[*special, *all_bytes], show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    state = json.loads(made.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] not in all_bytes]
    return framed(Tokenizer.from_str(json.dumps(state)), frame)


def word_pieces(special: list[str], frame: tuple[str, str] | None = None) -> Tokenizer:
    """WordPiece without capitals, as BERT has it."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    return framed(made, frame)


def framed(made: Tokenizer, frame: tuple[str, str] | None) -> Tokenizer:
    if frame is not None:
        before, behind = frame
        single = " ".join(filter(None, [before, "$A", behind]))
        names = [(name, made.token_to_id(name)) for name in {before, behind} - {""}]
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=names)
    return made


LLAMA = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": CONTEXT}  # fmt: skip
BERT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
Family = tuple[str, dict[str, Any], Callable[..., Tokenizer], list[str], tuple[str, str] | None, dict[str, str]]
FAMILIES: dict[str, Family] = {
    "llama": ("LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": False}, byte_level,
              ["<|begin_of_text|>", "<|eot_id|>"], ("<|begin_of_text|>", ""),
              {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
               "tokenizer_class": "PreTrainedTokenizerFast"}),
    "qwen2": ("Qwen2ForCausalLM", {**LLAMA, "tie_word_embeddings": True}, byte_level, ["<|endoftext|>"], None,
              {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "tokenizer_class": "Qwen2Tokenizer"}),
    "qwen3": ("Qwen3ForCausalLM", LLAMA, byte_level, ["<|endoftext|>"], None,
              {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "tokenizer_class": "Qwen2Tokenizer"}),
    "mistral": ("MistralForCausalLM", LLAMA, pieces, ["<unk>", "<s>", "</s>"], ("<s>", ""),
                {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}),
    "gemma": ("GemmaForCausalLM", LLAMA, pieces, ["<pad>", "<eos>", "<bos>", "<unk>"], ("<bos>", ""),
              {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
               "tokenizer_class": "GemmaTokenizer"}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}, byte_level,
             ["<|endoftext|>"], None, {"tokenizer_class": "GPT2Tokenizer"}),
    "bert": ("BertForMaskedLM", {**BERT, "max_position_embeddings": CONTEXT}, word_pieces,
             ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ("[CLS]", "[SEP]"), {"tokenizer_class": "BertTokenizer"}),
    "roberta": ("RobertaForMaskedLM", {**BERT, "max_position_embeddings": CONTEXT + 2, "type_vocab_size": 1},
                byte_level, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ("<s>", "</s>"),
                {"tokenizer_class": "RobertaTokenizer"}),
}  # fmt: skip
"""Architecture, sizes, tokenizer, special tokens, what stands around a text, tokenizer_config.json. Those of GPT-2,
BERT and RoBERTa say nothing of special tokens, as those of their first releases."""
CAUSAL = sorted(set(FAMILIES) - {"bert", "roberta"})


def write_family(folder: Path, name: str, seed: int = 0, chats: bool = True) -> Path:
    """A model of that name as save_pretrained writes it, its chat template with the answers marked."""
    architecture, sizes, tokenizer_of, special, frame, about = FAMILIES[name]
    folder.mkdir(parents=True)
    chats = chats and name in CAUSAL
    tokenizer = tokenizer_of([*special, *(TURNS if chats else [])], frame)
    tokenizer.save(str(folder / "tokenizer.json"))
    template = {"chat_template": TEMPLATE} if chats else {}
    (folder / "tokenizer_config.json").write_text(json.dumps({**about, **template, "model_max_length": CONTEXT}))
    model_class = getattr(transformers, architecture)
    named = {one: about[f"{one}_token"] for one in ("bos", "eos", "pad") if f"{one}_token" in about}
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    ids |= {f"{one}_token_id": tokenizer.token_to_id(token) for one, token in named.items()}
    if name in CAUSAL:
        ids.setdefault("pad_token_id", None)
    torch.manual_seed(seed)
    model_class(model_class.config_class(vocab_size=tokenizer.get_vocab_size(), **sizes, **ids)).save_pretrained(folder)
    return folder
