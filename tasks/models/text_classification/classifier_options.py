"""Options of a classifier of texts: labelled documents, copies of them, what it is measured by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from conf.schema.base import Conf
from conf.schema.evaluate import GateConf, MeasureConf
from conf.schema.finetune import TextTuneConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod

ClassifierMethod = Annotated[FullMethod | AdapterMethod | HeadMethod, Field(discriminator="kind")]


class TranslatorConf(Conf):
    """A sequence-to-sequence model of transformers, with weights in safetensors."""

    model: str = Field(min_length=1)
    """A local folder as /path or ./path (from the folder of the command), or OWNER/NAME on the Hugging Face hub."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    """The commit on the hub, all 40 digits; a local folder has none, it is known by its files."""
    prefix: str = ""
    """What stands before each text, as "translate English to German: " for T5."""
    source_language: str | None = None
    """The texts' language as the tokenizer of a model for many languages names it (eng_Latn for NLLB)."""
    target_language: str | None = None
    """The translations' language, likewise."""

    @property
    def is_local(self) -> bool:
        """Whether the model is a folder of this machine."""
        return self.model.startswith("/")

    def for_key(self) -> dict[str, Any]:
        """All but where the model lies: which one it is comes in as an observation."""
        return {name: value for name, value in super().for_key().items() if name not in ("model", "revision")}

    @field_validator("model")
    @classmethod
    def _absolute(cls, model: str) -> str:
        # a step may run in another folder than the one from which the command names the model
        return str(Path(model).expanduser().absolute()) if model.startswith(("/", ".", "~")) else model

    @model_validator(mode="after")
    def _is_pinned(self) -> TranslatorConf:
        if self.is_local and self.revision:
            raise ValueError("a local folder has no revision: leave it out, the folder is known by its files")
        if not self.is_local and not self.revision:
            raise ValueError(
                f"{self.model} is a name on the hub, where branches move: say which commit by revision=…, 40 hex "
                "digits, or name a local folder as ./path"
            )
        return self


class BackTranslationConf(Conf):
    """Copies made by translation and back (Sennrich et al. 2016; as augmentation: Xie et al. 2019)."""

    there: TranslatorConf
    """From the language of the examples."""
    back: TranslatorConf
    """Back to it."""
    share: float = Field(1.0, gt=0, le=1)
    """How likely a copy is translated; the others are changed by synonyms, swaps and deletions."""
    temperature: float = Field(0.8, ge=0, le=2)
    """Tokens are drawn from the model's probabilities at this temperature; 0 takes the likeliest translation."""
    beams: int = Field(1, ge=1)
    """Beams of the search for the likeliest translation, at temperature 0."""
    max_tokens: int = Field(256, ge=8)
    """Most tokens of a text that are translated, and of its translation; the rest is cut off."""
    batch: int = Field(32, ge=1)
    """Texts translated at once. Sums round differently in other batches, which may change a drawn token."""

    @model_validator(mode="after")
    def _draws_or_searches(self) -> BackTranslationConf:
        if self.beams > 1 and self.temperature:
            raise ValueError("beams search for the likeliest translation, nothing is drawn then: set temperature=0 too")
        return self


class AugmentConf(Conf):
    """Changed copies of a classifier's training examples (EDA: Wei and Zou 2019), drawn by the seed of fine-tuning.

    Names are hidden before and after. The valid and test parts stay as they are.
    """

    copies: int = Field(1, ge=1)
    """Copies of each example, beside the example itself."""
    synonyms: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Other words for a word, both in lower case, as {large: [big, great]}."""
    replace: float = Field(0.1, ge=0, le=1)
    """How likely a word that has synonyms is exchanged for one of them."""
    swap: float = Field(0.1, ge=0, le=1)
    """Swaps of two words, as a share of the words."""
    delete: float = Field(0.1, ge=0, lt=1)
    """How likely a word is left out."""
    translate: BackTranslationConf | None = None
    """Copies made by translation and back in place of such changes; None for none."""

    def for_key(self) -> dict[str, Any]:
        """All but how copies are translated: the translated ones are an input of fine-tuning."""
        return {name: value for name, value in super().for_key().items() if name != "translate"}

    @model_validator(mode="after")
    def _copies_differ(self) -> AugmentConf:
        if self.translate and not self.translate.temperature and self.copies > 1:
            raise ValueError(
                "the likeliest translation is the same for every copy: set copies=1, or draw, with "
                "models.NAME.train.augment.translate.temperature above 0"
            )
        return self


class ClassifierTraining(TextTuneConf):
    """Fine-tuning a classifier of labelled documents."""

    epochs: int = Field(3, ge=1)
    """Passes over the examples, at most."""
    several: bool = False
    """Whether a text may have several labels, or none: those of its source's columns.labels. Each is decided on by
    itself, at a probability of one half."""
    max_per_class: int | None = Field(None, ge=1)
    """Most training examples of one class, in order of id; None for all."""
    min_per_class: int = Field(20, ge=1)
    """A label with fewer training documents is left out (and counted)."""
    balance: Literal["weights", "undersample", "oversample", "none"] = "weights"
    """What is done about classes of unlike sizes, on the training side only. weights: a class counts in the loss by the
    inverse of its frequency; undersample: as many examples of each as the smallest has, drawn by the seed; oversample:
    examples of the smaller ones again, until each has as many as the largest."""
    augment: AugmentConf | None = None
    """Changed copies of the training examples, after balancing; None for none."""
    mask_labels: bool = False
    """Hide the labels' own names in the text, so that the name cannot give the answer away: where labels are names of
    things that the text is about."""
    masked_words: tuple[str, ...] = ()
    """Further words to hide: import names and nicknames."""
    mask: str = Field("LIB", min_length=1)
    """What stands in a hidden word's place."""
    later: ClassVar[frozenset[str]] = TextTuneConf.later | {"several"}

    @model_validator(mode="after")
    def _one_label_to_balance(self) -> Self:
        if self.several and (self.max_per_class is not None or self.balance in ("undersample", "oversample")):
            raise ValueError("with several=true a text belongs to no single class: leave max_per_class and balance out")
        return self


class ClassifyConf(ClassifierTraining):
    """What the step gets that trains."""

    method: ClassifierMethod = FullMethod(kind="full")
    """Which weights are trained."""


class TranslateConf(Conf):
    """The step that translates copies: of a classifier's options those that decide on what is translated, and how."""

    classify: ClassifyConf
    """The classifier's options; `augment.translate` is set."""

    @property
    def translate(self) -> BackTranslationConf:
        """How copies are translated."""
        assert self.classify.augment and self.classify.augment.translate
        return self.classify.augment.translate

    def for_key(self) -> dict[str, Any]:
        """Without what only training looks at, so that another learning rate translates nothing again."""
        names = ("max_per_class", "min_per_class", "balance", "mask_labels", "masked_words", "mask", "seed")
        whole = self.classify.for_key()
        copies = self.classify.augment.copies if self.classify.augment else 0
        return {**{name: whole[name] for name in names}, "copies": copies, "translate": self.translate.for_key()}


class ClassifierEval(MeasureConf):
    """A classifier on held-out documents, beside baselines."""

    bins: int = Field(10, ge=2)
    """Bins of equal width, by confidence, of the expected calibration error."""
    smoothing: float = Field(0.1, gt=0)
    """Additive smoothing of the naive Bayes baseline's word counts."""
    vocabulary: int = Field(50_000, ge=100)
    """Words that the baselines count: the most frequent ones."""


class ClassifierGate(GateConf):
    """The gate of a classifier."""

    metric: Literal["nats", "accuracy", "macro_f1"] = "accuracy"
    """What is compared, on the same items: nats (mean loss) are better low, the others high. Where a text may have
    several labels (train.several), macro_f1 unless another is named: most texts have none of most labels."""
    floors: tuple[Literal["majority", "naive_bayes", "logistic"], ...] = ("majority", "naive_bayes")
    """What it has to beat, or []: the most frequent class; naive Bayes, and logistic regression over TF-IDF, trained on
    the same documents."""
