"""The language of documents, by the model that ships with py3langid (after Lui and Baldwin 2012, langid.py).

A naive Bayes classifier over byte n-grams, which an automaton finds in one pass. The package evaluates it text by text
in Python; here its weights are evaluated for whole columns at once, to the same language and probability: counts enter
as log(1 + n), and the logarithms of the probabilities are divided by the square root of the text's bytes, which keeps
long texts from being too sure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from conf.schema.language import LanguageConf
from tasks.formats.documents import LANGUAGE

UNDETERMINED = "und"
"""Language of a text in which the model finds nothing, with confidence 0."""
_LOOSE = r"[\p{M}\u1100-\u11ff\u212a\u212b]"
"""What may be composed with the character before it."""

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Automaton:
    """Finds n-grams: in state s at byte b it goes on to moves[rows[s], b]; found[s] is the n-gram that ends there."""

    moves: NDArray[np.uint32]
    rows: NDArray[np.int32]
    found: NDArray[np.int32]
    """-1 where none ends."""


@dataclass(frozen=True)
class Model:
    """The packaged model."""

    labels: tuple[str, ...]
    """The language of each class; some have several classes, one a script."""
    first: Places
    """The first class of each class's language, which stands for all."""
    automaton: Automaton
    weights: Floats
    """N-grams by classes."""
    prior: Floats


@cache
def load() -> Model:
    """The model, read once in a process (some 130 MB of memory)."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE
    from py3langid.modelio import load_model

    weights, prior, labels, moves, rows, found = load_model(MODEL_DIR / MODEL_FILE)
    automaton = Automaton(
        np.asarray(moves, np.uint32).reshape(-1, 256), np.asarray(rows, np.int32), np.asarray(found, np.int32)
    )
    first = np.array([labels.index(label) for label in labels])
    return Model(tuple(labels), first, automaton, weights.astype(np.float32), prior)


def identify(texts: pl.Series) -> pl.DataFrame:
    """The columns of `LANGUAGE` for each text: its likeliest language and that one's probability."""
    model = load()
    data, starts = _bytes(texts)
    best, confidence = _classify(
        data,
        starts,
        model.automaton.moves,
        model.automaton.rows,
        model.automaton.found,
        model.weights,
        model.prior,
        model.first,
    )
    names = pl.Series([*model.labels, UNDETERMINED], dtype=pl.String)
    # Rounded, since the last digits differ between processors.
    return pl.DataFrame({"lang": names.gather(best), "lang_confidence": np.round(confidence, 4)}, schema=LANGUAGE)


def judge_language(documents: pl.DataFrame, conf: LanguageConf) -> pl.DataFrame:
    """The columns reason and detail of documents with their languages: `language`, or null for those to keep."""
    lang, confidence = pl.col("lang"), pl.col("lang_confidence")
    shown = confidence.cast(pl.Float64).round(2)
    other = pl.lit(False) if conf.keep is None else ~lang.is_in(conf.keep)
    unsure = confidence < conf.min_confidence
    detail = (
        pl.when(other)
        .then(pl.format("{} ({})", lang, shown))
        .when(unsure)
        .then(pl.format(f"{{}} ({{}} < {conf.min_confidence})", lang, shown))
    )
    return documents.select(
        pl.when(other | unsure).then(pl.lit("language")).alias("reason"),
        detail.otherwise(None).alias("detail"),
    )


def _bytes(texts: pl.Series) -> tuple[NDArray[np.uint8], Places]:
    """The texts' UTF-8 bytes, composed, one after another, and where each begins; capitals throughout are lowered."""
    texts = texts.fill_null("")
    shouted = (texts.str.contains(r"\p{Lu}") & ~texts.str.contains(r"\p{Ll}")).arg_true()
    texts = texts.scatter(shouted, texts.gather(shouted).str.to_lowercase())
    loose = texts.str.contains(_LOOSE).arg_true()
    texts = texts.scatter(loose, texts.gather(loose).str.normalize("NFC"))
    starts = np.concatenate(([0], np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64))))
    return np.frombuffer("".join(texts.to_list()).encode(), np.uint8), starts


@numba.njit(cache=True)
def _classify(
    data: NDArray[np.uint8],
    starts: Places,
    moves: NDArray[np.uint32],
    rows: NDArray[np.int32],
    found: NDArray[np.int32],
    weights: Floats,
    prior: Floats,
    first: Places,
) -> tuple[Places, Floats]:
    """The class of each text, one beyond the last for none, and its probability."""
    classes = len(prior)
    best, confidence = np.full(len(starts) - 1, classes, np.int64), np.zeros(len(starts) - 1, np.float32)
    counts, seen = np.zeros(len(weights), np.int32), np.empty(len(weights), np.int32)
    scores, merged = np.empty(classes, np.float32), np.empty(classes, np.float64)
    for document in range(len(starts) - 1):
        state, distinct = np.int64(0), 0
        for place in range(starts[document], starts[document + 1]):
            state = np.int64(moves[rows[state], data[place]])
            gram = found[state]
            if gram >= 0:
                if counts[gram] == 0:
                    seen[distinct] = gram
                    distinct += 1
                counts[gram] += 1
        if not distinct:
            continue
        for one in range(classes):
            scores[one], merged[one] = prior[one], 0
        for gram in seen[:distinct]:
            count = np.float32(np.log1p(counts[gram]))
            counts[gram] = 0
            for one in range(classes):
                scores[one] += count * weights[gram, one]
        heat = np.sqrt(starts[document + 1] - starts[document])
        best[document], confidence[document] = _likeliest(scores, merged, first, heat)
    return best, confidence


@numba.njit(cache=True)
def _likeliest(scores: Floats, merged: NDArray[np.float64], first: Places, heat: float) -> tuple[int, float]:
    """The class of the likeliest language and that one's probability."""
    top = scores[0]
    for score in scores:
        top = max(top, score)
    total, most, best = 0.0, 0.0, 0
    for one in range(len(scores)):
        likely = np.exp((scores[one] - top) / heat)
        merged[first[one]] += likely
        total += likely
    for one in range(len(scores)):
        if merged[one] > most:
            best, most = one, merged[one]
    return best, most / total
