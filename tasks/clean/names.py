"""Names of people and places: found by a spaCy model through Presidio, replaced by a placeholder.

Presidio gives every name of such a model the same score, so there is no limit to set on it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import polars as pl

from conf.schema.clean import NameKind, NamesConf
from tasks.clean.pii import KINDS
from tasks.clean.spacy_models import LABELS

PLACEHOLDERS: dict[NameKind, str] = {"person": "<PERSON>", "place": "<PLACE>"}
ENTITIES: dict[NameKind, str] = {"person": "PERSON", "place": "LOCATION"}
"""What Presidio calls a kind."""
LONGEST = 10_000
"""Characters that the model sees at once: its memory grows with them."""
BATCH = 32
"""Stretches of text in a batch of `nlp.pipe`."""
UNNEEDED = ("attribute_ruler", "lemmatizer", "morphologizer", "parser", "senter", "tagger", "trainable_lemmatizer")
"""Parts of a pipeline that names do without; they take half of the time."""

_KNOWN = [*(kind.placeholder for kind in KINDS.values()), *PLACEHOLDERS.values()]
_MARGIN = max(map(len, _KNOWN))
_BORDER = re.compile("|".join(["\n", *map(re.escape, _KNOWN)]))

Span = tuple[NameKind, int, int]


def scrub_names(texts: pl.Series, conf: NamesConf) -> tuple[pl.Series, dict[str, int]]:
    """Replace names by placeholders; returns the texts and the number per kind. Lines and placeholders stay whole."""
    counts: Counter[str] = Counter({kind: 0 for kind in conf.kinds})
    stretches = [(row, part) for row, text in enumerate(texts) for part in _cut(text or "")]
    scrubbed: dict[int, list[str]] = {}
    for (row, part), found in zip(stretches, _find([part for _, part in stretches], conf), strict=True):
        spans = list(_within_lines(part, found))
        counts.update(kind for kind, _, _ in spans)
        scrubbed.setdefault(row, []).append(_replace(part, spans))
    done = [None if text is None else "".join(scrubbed.get(row, ())) for row, text in enumerate(texts)]
    return pl.Series(texts.name, done, dtype=pl.String), dict(counts)


def _cut(text: str) -> Iterator[str]:
    """Stretches of at most `LONGEST` characters, each up to a line's end or at least a word's."""
    start = 0
    while len(text) - start > LONGEST:
        limit = start + LONGEST
        end = next((at + 1 for mark in "\n " if (at := text.rfind(mark, start, limit)) >= start), limit)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _find(parts: Sequence[str], conf: NamesConf) -> Iterator[list[Span]]:
    """The names in each text, by their places, none in another."""
    analyzer, language = _analyzer(conf.model)
    kinds = {ENTITIES[kind]: kind for kind in conf.kinds}
    for found in analyzer.analyze_iterator(parts, language, batch_size=BATCH, entities=list(kinds)):
        yield sorted(((kinds[one.entity_type], one.start, one.end) for one in found), key=lambda span: span[1:])


@cache
def _analyzer(model: str) -> tuple[Any, str]:
    """Presidio's analyzer of batches with one model, on the CPU, and the model's language; nothing is downloaded."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, BatchAnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it warns of every date and number
    nlp: Any = spacy.load(model, exclude=UNNEEDED)
    for name, part in list(nlp.pipeline):
        if getattr(part, "listening_components", None) == []:  # vectors for those that are left out
            nlp.disable_pipe(name)
    called = {label: ENTITIES[kind] for kind, labels in LABELS.items() for label in labels}
    engine: Any = SpacyNlpEngine(
        [{"lang_code": nlp.lang, "model_name": model}], NerModelConfiguration(model_to_presidio_entity_mapping=called)
    )
    engine.nlp = {nlp.lang: nlp}
    registry = RecognizerRegistry([SpacyRecognizer(nlp.lang, list(ENTITIES.values()))], supported_languages=[nlp.lang])
    analyzer = AnalyzerEngine(registry, engine, supported_languages=[nlp.lang])
    return BatchAnalyzerEngine(analyzer), nlp.lang


def _within_lines(text: str, found: Sequence[Span]) -> Iterator[Span]:
    """What of each name lies in one line and in no placeholder, without white space around, if it has a letter."""
    for kind, start, end in found:
        at = start
        borders = [match.span() for match in _BORDER.finditer(text, max(0, start - _MARGIN), end + _MARGIN)]
        for until, after in [*((first, last) for first, last in borders if last > start and first < end), (end, end)]:
            stretch = text[at:until]
            if any(map(str.isalpha, stretch)):
                left = at + len(stretch) - len(stretch.lstrip())
                yield kind, left, left + len(stretch.strip())
            at = max(at, after)


def _replace(text: str, spans: Sequence[Span]) -> str:
    done, at = [], 0
    for kind, start, end in spans:
        done += [text[at:start], PLACEHOLDERS[kind]]
        at = end
    return "".join([*done, text[at:]])
