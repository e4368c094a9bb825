"""The kinds of tokenizer, and how each is trained so that the same texts give the same tokenizer.

bpe and unigram work on bytes: every text can be written with the 256 of them, so there is no unknown token and decoding
gives back the exact text. wordpiece is what BERT has: it lower-cases, forgets the white space and writes a word that it
cannot spell as [UNK].
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from conf.schema.tokenize import UNKNOWN, TokenizerConf

Texts = Callable[[], Iterator[list[str]]]
CHARACTERS = 1000
"""Most characters that a WordPiece vocabulary spells words with, and at most a quarter of it; as in BERT's."""


def train(texts: Texts, conf: TokenizerConf) -> Tokenizer:
    """A tokenizer of the kind `conf.kind`, trained on batches of texts, which may be asked for more than once."""
    return {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece}[conf.kind](texts, conf)


def alphabet() -> list[str]:
    """The 256 bytes as a byte-level vocabulary writes them, in the order of their ids."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def on_bytes(model: models.Model) -> Tokenizer:
    """A tokenizer that cuts texts as GPT-2 does and works on their bytes."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _bpe(texts: Texts, conf: TokenizerConf) -> Tokenizer:
    tokenizer = on_bytes(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=conf.vocab_size,
        min_frequency=conf.min_frequency,
        special_tokens=list(conf.special_tokens),
        initial_alphabet=alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def _unigram(texts: Texts, conf: TokenizerConf) -> Tokenizer:
    tokenizer = on_bytes(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=conf.vocab_size,
        special_tokens=list(conf.special_tokens),
        initial_alphabet=alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return Tokenizer.from_str(_settled(tokenizer.to_str(), len(conf.special_tokens)))


def _settled(trained: str, special: int) -> str:
    """A unigram tokenizer.json without what chance left in it.

    The trainer adds up in the order of a hash table, so that scores differ in the last bits from run to run, and gives
    the bytes that it did not see scores in steps of 1e-4 above the least one, in that order too.
    """
    state = json.loads(trained)
    vocabulary = state["model"]["vocab"]
    named, pieces = vocabulary[:special], vocabulary[special:]
    least = min(score for _, score in pieces)
    unseen = least + 0.0256 + 1e-3
    settled = [(p, round(least if len(p) == 1 and score < unseen else score, 6)) for p, score in pieces]
    settled.sort(key=lambda pair: (-pair[1], pair[0]))
    state["model"]["vocab"] = [*named, *settled]
    return json.dumps(state, ensure_ascii=False)


def _wordpiece(texts: Texts, conf: TokenizerConf) -> Tokenizer:
    """The trainer numbers what continues a word in the order of a hash table: so it is given them, as special tokens,
    and the tokenizer is made of the vocabulary that comes out, with its own special tokens only."""
    normalizer = normalizers.BertNormalizer(lowercase=conf.uncased)
    learning = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    learning.normalizer, learning.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    characters = _characters(texts, normalizer, min(CHARACTERS, conf.vocab_size // 4))
    trainer = trainers.WordPieceTrainer(
        vocab_size=conf.vocab_size,
        min_frequency=conf.min_frequency,
        special_tokens=[*conf.special_tokens, *characters, *(f"##{character}" for character in characters)],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    learning.train_from_iterator(texts(), trainer)
    vocabulary = learning.get_vocab(with_added_tokens=False)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.add_special_tokens(list(conf.special_tokens))
    return tokenizer


def _characters(texts: Texts, normalizer: normalizers.Normalizer, most: int) -> list[str]:
    """The `most` commonest characters of the texts, in the order of their code points."""
    counted: Counter[str] = Counter()
    for batch in texts():
        for text in batch:
            counted.update(normalizer.normalize_str(text))
    common = sorted((c for c in counted if not c.isspace()), key=lambda c: (-counted[c], c))
    return sorted(common[:most])
