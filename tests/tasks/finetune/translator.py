"""Translators made by hand: BART whose weights carry the word at each place over to its translation, and nothing else.

An embedding is one of a word and one of a place, both 1 of many; cross-attention looks at the same place and moves its
word, translated, to where the head reads it. The texts end where theirs end, for the end is a word too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
PLACES = 40
OFFSET = 2
"""BART's first place is its third embedding of places."""


def write_translator(folder: Path, meaning: Mapping[str, str]) -> Path:
    """A model that says for each word what it means; words that it does not know are lost."""
    words = [*SPECIAL, *dict.fromkeys([*meaning, *meaning.values()])]
    _tokenizer(words).save_pretrained(folder)
    _model(words, meaning).save_pretrained(folder)
    return folder


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    level = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    level.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=level, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@torch.no_grad()
def _model(words: list[str], meaning: Mapping[str, str]) -> BartForConditionalGeneration:
    vocabulary, number = len(words), {word: n for n, word in enumerate(words)}
    config = BartConfig(
        vocab_size=vocabulary, d_model=vocabulary + PLACES, max_position_embeddings=PLACES, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1, encoder_ffn_dim=4, decoder_ffn_dim=4,
        forced_bos_token_id=None, forced_eos_token_id=None, dropout=0.0,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    model.model.shared.weight[:, :vocabulary] = torch.eye(vocabulary)
    for side in (model.model.encoder, model.model.decoder):
        side.embed_positions.weight[OFFSET:, vocabulary:] = torch.eye(PLACES)
    looking = model.model.decoder.layers[0].encoder_attn
    looking.q_proj.weight[vocabulary:, vocabulary:] = 10 * torch.eye(PLACES)
    looking.k_proj.weight[vocabulary:, vocabulary:] = torch.eye(PLACES)
    for word in words:
        looking.v_proj.weight[number[meaning.get(word, word)], number[word]] = 5.0
    looking.out_proj.weight[:] = torch.eye(vocabulary + PLACES)
    return model
