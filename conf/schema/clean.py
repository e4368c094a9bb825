"""Options of the stage clean: licences, split, cleaning, near-duplicates, the evaluation set, decontamination."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, model_validator

from conf.schema.base import Conf
from conf.schema.data import SourceConf, SourceName
from conf.schema.language import LANGUAGES, LanguageConf
from conf.schema.rules import RulesConf
from tasks.core.errors import nearest

PiiKind = Literal["secret", "email", "iban", "card", "phone", "ip"]
DEFAULT_REGIONS = ("CN", "JP", "KR", "RU", "DE", "FR", "GB", "US")
NameKind = Literal["person", "place"]

Licences = Annotated[tuple[str, ...], Field(min_length=1)]
"""Licences as documents name them, in upper or lower case; * stands for any characters."""


class LicencesConf(Conf):
    """Which licences a document may have to be taken in. One that it may not have drops it, whatever it is for."""

    allow: Licences | None = None
    """Licences of every source that is not in `by_source`, such as [MIT, Apache-2.0, "BSD*"]; null allows all.

    Of "A AND B" and "A, B" each must be allowed, of "A OR B" one. A document without a licence has "unknown".
    """
    by_source: dict[str, Licences | None] = Field(default_factory=dict)
    """Licences of single sources, by the source's name, in place of `allow`."""

    def of(self, source: str) -> tuple[str, ...] | None:
        """What is allowed of a source; None for everything."""
        return self.by_source.get(source, self.allow)


class SplitConf(Conf):
    """Which documents are held out, decided by a salted hash of their raw text."""

    test: float = Field(0.02, ge=0, lt=1)
    """Share of documents kept for evaluation, 0 to 1."""
    valid: float = Field(0.01, ge=0, lt=1)
    """Share of documents kept for validation during training, 0 to 1."""
    seed: int = Field(0, ge=0)
    """Salt of the hash; another value holds out other documents."""

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> SplitConf:
        if self.test + self.valid >= 1:
            raise ValueError(f"test ({self.test}) + valid ({self.valid}) leave nothing to train on: lower one")
        return self


class AdmitConf(Conf):
    """What decides on a document before anything else does: its licence, and the part that it falls to."""

    licences: Licences | None = None
    """Licences that are allowed; None for all."""
    split: SplitConf = SplitConf()
    """Shares that are held out."""


class NormaliseConf(Conf):
    """Repair of text that nobody meant to look like that."""

    mojibake: bool = True
    """Repair text that was decoded with the wrong encoding (only rows that show signs of it)."""
    unicode: Literal["NFC", "NFKC"] | None = "NFC"
    """Unicode normal form; None leaves the code points as they are."""
    max_blank_lines: int = Field(2, ge=1)
    """Longest run of blank lines that is kept, in lines."""


class NamesConf(Conf):
    """Names, found by a spaCy model through Presidio. It needs presidio-analyzer and a model, and some
    20 s of a core for each MB of text."""

    kinds: tuple[NameKind, ...] = Field(("person", "place"), min_length=1)
    """Kinds of names that are replaced by a placeholder, <PERSON> or <PLACE>; places are countries, cities, rivers."""
    model: str = Field("en_core_web_sm", min_length=1)
    """spaCy's model, of one language: an installed package, or a folder that holds one. Of its pipeline only what
    names need is run (no tagger, parser or lemmatizer)."""


class CleanConf(Conf):
    """Repair, scrubbing of personal data, language and quality rules, in this order."""

    normalise: NormaliseConf = NormaliseConf()
    """Unicode and white-space repair."""
    rules: RulesConf = RulesConf()
    """Quality rules of every source that is not in `rules_by_source`: thresholds, or the names of published sets."""
    rules_by_source: dict[str, RulesConf] = Field(default_factory=dict)
    """Rules of single sources, by the source's name, in place of `rules`."""
    rules_by_language: dict[str, RulesConf] = Field(default_factory=dict)
    """Rules of documents in single languages, by the language's code, in place of `rules` where the source has none of
    its own: {zh: fineweb2_zh, th: fineweb2_th}. `language` has to be set, {} at least."""
    language: LanguageConf | None = None
    """Languages by which documents are marked and kept; None leaves languages alone."""
    pii: tuple[PiiKind, ...] = ("secret", "email", "iban", "card", "phone", "ip")
    """Kinds of personal data that are replaced by a placeholder such as <EMAIL>; empty for none."""
    phone_regions: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")], ...] = DEFAULT_REGIONS
    """Countries (ISO 3166, as CN) whose telephone numbers are found in their national forms, without +; those with +
    are found of all."""
    names: NamesConf | None = None
    """Names that are replaced after these, by a model; None leaves names alone."""
    max_characters: int = Field(64_000_000, ge=1)
    """Longest document, in characters; a longer one is dropped for the reason too_long before anything looks at it."""
    max_seconds: float = Field(30, gt=0)
    """Seconds of a processor that repairing one text and looking for personal data of one kind in it may take; a
    document that needs more is dropped for the reason too_slow. Ordinary text takes a second for some 5 MB."""
    later: ClassVar[frozenset[str]] = frozenset({"max_characters", "max_seconds"})

    @model_validator(mode="after")
    def _knows_the_languages_of_rules(self) -> CleanConf:
        if self.rules_by_language and self.language is None:
            raise ValueError("rules_by_language needs the documents' languages: set language: {}")
        for code, rules in self.rules_by_language.items():
            if code not in LANGUAGES:
                raise ValueError(f"rules_by_language: there is no language {code!r}{nearest(code, LANGUAGES)}")
            if rules.lines:
                raise ValueError(
                    f"rules_by_language.{code}.lines: lines are taken out before a document's language is known: "
                    "give them under rules or rules_by_source"
                )
        return self


class DedupConf(Conf):
    """Exact and near duplicates by MinHash (Broder 1997) and locality-sensitive hashing."""

    shingle: int = Field(5, ge=1)
    """Words in a shingle; case, punctuation and white space do not count."""
    shingle_characters: int = Field(6, ge=1)
    """Letters in a shingle of a script without spaces (Chinese, Japanese, Thai, …)."""
    bands: int = Field(16, ge=1)
    """Bands of the signature; two documents that agree on a whole band are compared."""
    rows: int = Field(7, ge=1)
    """Hashes in a band. With 16 bands of 7, a Jaccard similarity of 0.8 is found 98 times in 100, 0.9 always; with 14
    of 8, which are as many hashes, 92 times."""
    threshold: float = Field(0.7, ge=0, le=1)
    """Smallest Jaccard similarity of a near-duplicate: of the shingles themselves where an estimate leaves a doubt."""
    seed: int = Field(0, ge=0)
    """Seed of the hash functions."""


class EvalsetConf(Conf):
    """The frozen evaluation set: a new version takes in new held-out documents."""

    name: str = Field("main", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the set."""
    version: int = Field(1, ge=1)
    """Version of the set; raise it to freeze a new one."""
    max_documents: int | None = Field(1000, ge=1)
    """Most documents of one source, chosen by smallest id; None for all."""


class DecontaminateConf(Conf):
    """Removal of training documents that overlap an evaluation set."""

    ngram: int = Field(13, ge=1)
    """Words in an n-gram (GPT-3: 13). Documents with fewer words are compared whole."""
    ngram_characters: int = Field(20, ge=1)
    """Letters in an n-gram of a script without spaces (Chinese, Japanese, Thai, …)."""
    boilerplate: int | None = Field(5, ge=2)
    """Documents of the corpus, the evaluation sets included, that make an n-gram boilerplate, which does not count when
    that many have it; an evaluation document of nothing else is compared whole. null counts everything."""
    max_share: float = Field(0.2, ge=0, lt=1)
    """Largest share of distinct n-grams that a document may have in common with one evaluation document, of the one of
    the two that has fewer. 0 drops at the first common n-gram, as GPT-3 did; documentation, which shares boilerplate,
    needs more."""
    against: dict[SourceName, SourceConf] = Field(default_factory=dict)
    """Evaluation sets beside the project's own, by name, each read as a source is: training documents that overlap one
    of their texts leave as well."""
    later: ClassVar[frozenset[str]] = frozenset({"against"})
