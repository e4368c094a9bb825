"""How well a tokenizer fits each source and language, beside GPT-2's where that is on this machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.text.words import words
from tasks.tokenize.texts import read_tagged

SAMPLE = 512
"""Documents of each shard on which the tokenizer is measured."""


def measure(tokenizer: Tokenizer, docs: Sequence[Path]) -> dict[str, Any]:
    """On the first documents of each table: {"sources": {source: row}} and, where the tables have a column `lang`,
    {"languages": {source: {lang: row}}}.

    A row has bytes_per_token, tokens_per_word (fertility; in scripts without spaces a letter is a word) and exact, the
    share of documents that read back to the exact text; and "gpt2", the first two of GPT-2's tokenizer, if Hugging
    Face's cache on this machine has it.
    """
    other = gpt2()
    totals: dict[tuple[str, str | None], list[int]] = defaultdict(lambda: [0] * 6)
    for path in docs:
        for text, source, language in _sample(path):
            counts = _count(tokenizer, other, text)
            for key in {(source, None), (source, language)}:
                totals[key] = [a + b for a, b in zip(totals[key], counts, strict=True)]
    rows = {key: _ratios(*total, beside=other is not None) for key, total in totals.items()}
    sources = {source: rows[source, None] for source in sorted(name for name, language in rows if not language)}
    languages: dict[str, dict[str, Any]] = {}
    for source, language in sorted(key for key in rows if key[1]):
        languages.setdefault(source, {})[str(language)] = rows[source, language]
    return {"sources": sources, **({"languages": languages} if languages else {})}


def gpt2() -> Tokenizer | None:
    """GPT-2's tokenizer out of Hugging Face's local cache; None if it is not there.  Nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    for name in ("openai-community/gpt2", "gpt2"):
        if isinstance(found := try_to_load_from_cache(name, TOKENIZER_FILE), str):
            return Tokenizer.from_file(found)
    return None


def _count(tokenizer: Tokenizer, other: Tokenizer | None, text: str) -> list[int]:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    exact = tokenizer.decode(ids, skip_special_tokens=False) == text
    theirs = len(other.encode(text, add_special_tokens=False).ids) if other else 0
    return [1, len(text.encode()), len(words(text)), len(ids), exact, theirs]


def _ratios(
    documents: int, size: int, words: int, tokens: int, exact: int, theirs: int, *, beside: bool
) -> dict[str, Any]:
    def fit(count: int) -> dict[str, float]:
        return {
            "bytes_per_token": round(size / max(count, 1), 4),
            "tokens_per_word": round(count / max(words, 1), 4),
        }

    return {**fit(tokens), "exact": round(exact / documents, 4), **({"gpt2": fit(theirs)} if beside else {})}


def _sample(docs: Path) -> Iterator[tuple[str, str, str | None]]:
    taken = 0
    for texts, sources, languages in read_tagged(docs):
        yield from zip(texts, sources, languages, strict=True)
        taken += len(texts)
        if taken >= SAMPLE:
            return
