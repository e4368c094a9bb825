"""What a kind of models is: one record, filled in by the kind's own folder.

tasks/models/KIND/kind.py declares the steps of the kind and holds `KIND`, an instance of a subclass of `Kind`, and
`OPTIONS`, the model of its options. Nothing outside of the folder names the kind: all others ask `of`. A
distribution adds a kind by an entry point of `GROUP` whose value is such a module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from conf.schema.model_recipe import DOOR, GROUP, PACKAGE
from tasks.core import plugins
from tasks.core.errors import HostError
from tasks.core.step import Step, forecast
from tasks.formats.document_files import documents_in
from tasks.formats.metrics import OF_TRAINING, Metric
from tasks.formats.model_folder import TOKENIZER_FILE

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class Inputs(Protocol):
    """What a flow hands to a kind beside the model that it starts from."""

    @property
    def documents(self) -> tuple[Any, ...]:
        """One artifact per shard, with the parts train and valid."""

    @property
    def evalset(self) -> Any:
        """The frozen held-out documents."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of what is pretrained; None where nothing is."""

    @property
    def context(self) -> int | None:
        """Tokens that what is pretrained looks at; None if that is not known."""

    @property
    def recipe(self) -> str:
        """The recipe's name, under which observations are remembered."""


class Named(str):
    """The end of a name that begins with the recipe's: RECIPE-chat."""


@dataclass(frozen=True)
class Offers:
    """What a folder of text has to offer, for a first recipe."""

    beginnings: list[str]
    """Of texts."""
    questions: list[str]
    """Beginnings of conversations."""
    conversations: bool
    """Whether there are any."""
    labels: tuple[int, ...]
    """How many documents each label has."""
    said: frozenset[str] = frozenset()
    """What else columns say of texts, by meaning (`columns` of a source)."""


@dataclass(frozen=True)
class Offer:
    """A model that can be made of it."""

    name: str
    """In the recipe."""
    options: dict[str, Any]
    """As the recipe has them: numbers, words, `Named`, and lists and mappings of these."""
    why: str = ""
    """As in "conversations give a chat model"."""


class Kind(ABC):
    """What all others need to know of a kind of models; `conf` is an instance of its options."""

    name: ClassVar[str]
    """As the option `kind` has it: the folder's name."""
    former: ClassVar[tuple[str, ...]] = ()
    """Names under which versions were registered before."""
    noun: ClassVar[str]
    """As in "it is a classifier"."""
    what: ClassVar[str]
    """A sentence for the model's card: what it is."""
    limits: ClassVar[str]
    """A sentence for the card: what it is not to be used for, and how it fails."""
    training: ClassVar[Step | None] = None
    """The step that trains it; None for a kind that is what it starts from."""
    evaluation: ClassVar[Step]
    """The step that measures it: its items are what the gate compares."""
    measuring: ClassVar[tuple[Step, ...]] = ()
    """Further steps that measure, as of what it started from."""
    measures: ClassVar[tuple[Metric, ...]] = ()
    """What its evaluation measures beside what is `compared`; a metric that is not declared is shown by its name."""
    compared: ClassVar[tuple[Metric, ...]]
    """Those that two versions are compared by, the first of which stands for the model."""
    baselines: ClassVar[Mapping[str, str]] = {}
    """What is simpler and measured on the same items, by the name in the metrics: how people call it."""
    answering: ClassVar[str]
    """The module with `load(folder)` and `answer(model, encoder, texts, task, **params)`: it goes into what is
    registered, so that it imports nothing of the project but modules that stand alone."""
    params: ClassVar[Mapping[str, Any]] = {}
    """What `answer` may be told, with its defaults."""
    columns: ClassVar[Mapping[str, str]] = {}
    """Columns that `answer` gives for each text, string, number, probabilities or
    spans ({start, end, label, text}); none if it gives a text."""
    converses: ClassVar[bool] = False
    """Whether it answers turn by turn, so that `fromzero chat` talks with it."""

    @property
    def writes(self) -> bool:
        """Whether it answers with a text, so that `fromzero generate` asks it; all others `fromzero predict`."""
        return not self.columns

    def train(self, conf: Any, start: Any, data: Inputs, about: str | None = None) -> Any:
        """In a flow: the artifact with the part `model`; `start` is such an artifact. `about` tells calls for models of
        one kind apart."""
        return start

    @abstractmethod
    def evaluate(self, conf: Any, model: Any, data: Inputs, about: str | None = None) -> Any:
        """In a flow: the evaluation of a model's folder, on the frozen held-out documents."""

    def before(self, conf: Any, start: Any, model: Any, data: Inputs, about: str | None = None) -> tuple[Any, ...]:
        """In a flow: evaluations of baselines that are models themselves."""
        return ()

    @abstractmethod
    def metrics(self) -> Mapping[str, ItemMetric]:
        """How what the gate compares is made from items, by name."""

    def suggest(self, offers: Offers) -> Offer | None:
        """For a first recipe: the model of this kind that can be made of what there is, if any."""
        return None

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """What to ask a first time, by the options of the recipe as JSON."""
        return "The"


def weights(start: Any) -> Any:
    """The model's folder in what a model starts from: an artifact with that part, or the part itself."""
    return start if getattr(start, "part_name", None) == "model" else start.part("model")


def reading(conf: Any, start: Any, data: Inputs) -> tuple[Any, Any] | None:
    """In a flow: the tokenizer that a model's texts are read with, and the tokens that it looks at (None: not known);
    None where the tokenizer is not known either. `conf` is the model's options, `start` what it starts from."""
    if conf.is_open:
        return weights(start), start.stats.get("context")
    return None if data.tokenizer is None else (data.tokenizer, data.context)


Texts = Callable[[Sequence[Any], Any], tuple[list[str], int]]
"""Of tables of documents and a step's options: the texts of some examples, in their order, and how many there are."""


def forecast_tuning(kind: Kind, conf: Any, start: Any, data: Inputs, texts: Texts) -> None:
    """In a flow, behind the call of the step that trains: what it will take. `conf` is the model's options."""
    known = reading(conf, start, data)
    if known is None or kind.training is None:
        return

    def look(model: Any, docs: Sequence[Any], tokenizer: Any, *, conf: Any) -> dict[str, float]:
        from tasks.finetune.forecast import forecast as of

        some, count = texts([documents_in(doc, "train") for doc in docs], conf)
        return of(model.path, tokenizer / TOKENIZER_FILE, some, count, conf, conf.method, writes=kind.writes)

    forecast(kind.training, look, weights(start), data.documents, known[0], conf=conf.training)


@cache
def kinds() -> dict[str, Kind]:
    """All kinds, by name; raises `HostError` for one that is of another version."""
    found = {name: plugins.module(PACKAGE, GROUP, name, DOOR).KIND for name in plugins.names(PACKAGE, GROUP, DOOR)}
    for name, kind in found.items():
        if not all(isinstance(one, Metric) for one in (*kind.measures, *kind.compared)):
            where = plugins.names(PACKAGE, GROUP, DOOR)[name]
            raise HostError(f"{where}: measures and compared of a kind of models are tasks.formats.metrics.Metric: see "
                            "docs/add-a-metric.md")  # fmt: skip
    return found


def of(name: str) -> Kind:
    """The kind of that name, or one that had it before; raises `ConfigError` if there is none."""
    for kind in kinds().values():
        if name in (kind.name, *kind.former):
            return kind
    found: Kind = plugins.module(PACKAGE, GROUP, name, DOOR).KIND
    return found


def evaluated_by(step: str) -> Kind | None:
    """The kind whose models a step evaluates for the gate."""
    return next((kind for kind in kinds().values() if kind.evaluation.name == step), None)


def measured_by(step: str) -> Kind | None:
    """The kind whose models a step measures."""
    steps = {one.name: kind for kind in kinds().values() for one in (kind.evaluation, *kind.measuring)}
    return steps.get(step)


def trained_by(step: str) -> Kind | None:
    """The kind whose models a step trains."""
    return next((kind for kind in kinds().values() if kind.training is not None and kind.training.name == step), None)


def baselines() -> dict[str, str]:
    """How people call what is simpler than a model, by its name in the metrics; of all kinds."""
    return {name: said for kind in kinds().values() for name, said in kind.baselines.items()}


def metric(name: str) -> Metric:
    """What is declared of a metric or of a part of it (NAME/PART), by whatever kind; the name alone if nothing is."""
    root, _, part = name.partition("/")
    known = {one.name: one for kind in kinds().values() for one in (*kind.measures, *kind.compared)}
    found = known.get(root) or next((one for one in OF_TRAINING if one.name == root), None)
    found = found or Metric(root, root.replace("_", " "))
    return replace(found, name=name, label=f"{found.label}, {part}") if part else found


def headline(step: str, metrics: Mapping[str, Any]) -> str | None:
    """Of what a step measured, the metric that stands for it; the first if none is declared to, None if there is
    none."""
    kind = measured_by(step)
    wanted = [one.name for one in (*(kind.compared if kind else ()), *OF_TRAINING)]
    return next((name for name in (*wanted, *metrics) if name in metrics), None)
