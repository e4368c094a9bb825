"""More examples for a classifier out of those that there are (EDA: Wei and Zou 2019): synonyms, swaps, deletions."""

from __future__ import annotations

import random

import numpy as np
import polars as pl

from tasks.models.text_classification.classifier_options import AugmentConf
from tasks.text.words import pieces


def numbered(table: pl.DataFrame, copies: int) -> pl.DataFrame:
    """Each row (id, text, label) `copies` times, with "number": how often its id came before."""
    copied = table[np.repeat(np.arange(table.height), copies)]
    return copied.with_columns(number=pl.int_range(pl.len()).over("id"))


def copies(table: pl.DataFrame, conf: AugmentConf, seed: int, translated: pl.DataFrame | None = None) -> pl.DataFrame:
    """`conf.copies` changed copies of each row (id, text, label), row by row.

    What becomes of a row depends on its id, how often that came before, the copy's number and the seed alone.
    `translated` (id, number, text) are copies that are there already; one whose text is empty is left out.
    """
    copied = numbered(table, conf.copies)
    ready = {(id_, number): text for id_, number, text in translated.iter_rows()} if translated is not None else {}
    which = copied.select("id", "number").rows()
    texts = [
        ready[id_, number] if (id_, number) in ready else changed(text, conf, random.Random(f"{seed}/{id_}/{number}"))
        for (id_, number), text in zip(which, copied["text"], strict=True)
    ]
    made = copied.drop("number").with_columns(pl.Series("text", texts, dtype=pl.String))
    return made.filter(pl.Series([one not in ready or bool(ready[one]) for one in which], dtype=pl.Boolean))


def changed(text: str, conf: AugmentConf, draw: random.Random) -> str:
    """A text with some words exchanged for synonyms, some pairs swapped and some words left out; white space stays
    where it was, but for that before a word that is left out. At least one word stays."""
    found = pieces(text)
    words, gaps = found[::2], found[1::2]
    words = [_synonym(word, conf, draw) for word in words]
    for _ in range(round(conf.swap * len(words))):
        one, other = draw.randrange(len(words)), draw.randrange(len(words))
        words[one], words[other] = words[other], words[one]
    stay = [draw.random() >= conf.delete for _ in words]
    if not any(stay):
        stay[draw.randrange(len(words))] = True
    kept = [("" if n == 0 else gaps[n - 1]) + word for n, word in enumerate(words) if stay[n]]
    return "".join(kept).lstrip()


def _synonym(word: str, conf: AugmentConf, draw: random.Random) -> str:
    """Another word for the letters of a word, with its capital and what stands around them."""
    bare = word.strip("\"'()[]{}.,;:!?。，、；：！？（）「」“”")
    known = conf.synonyms.get(bare.lower())
    if not known or draw.random() >= conf.replace:
        return word
    other = draw.choice(known)
    return word.replace(bare, other.capitalize() if bare[:1].isupper() else other, 1)
