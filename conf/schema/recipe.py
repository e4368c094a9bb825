"""The recipe: one model that names everything a pipeline run does."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from conf.schema.base import Conf
from conf.schema.clean import AdmitConf, CleanConf, DecontaminateConf, DedupConf, EvalsetConf, LicencesConf, SplitConf
from conf.schema.data import CollectConf
from conf.schema.engine import EngineConf
from conf.schema.model import NativeConf, NetworkConf
from conf.schema.model_recipe import PRETRAINED, ModelRecipe
from conf.schema.models import AnyModel, ModelName
from conf.schema.pretrain import PretrainRecipe
from conf.schema.release import ApprovalConf
from conf.schema.store import LocalStoreConf, StoreConf
from conf.schema.tokenize import TokenizerConf, UpsampleConf
from conf.schema.validate import ContractConf, LossesConf, ValidateConf
from tasks.core.errors import nearest

PRETRAINING = ("tokenizer", "model", "pretrain")
"""What of a recipe is about pretraining only."""


class DataConf(CollectConf):
    """Where text comes from and what becomes of it before it is tokenized."""

    validation: ValidateConf = ValidateConf()
    """What collected data must be like."""
    licences: LicencesConf = LicencesConf()
    """Which licences are taken in, of all sources and of single ones."""
    split: SplitConf = SplitConf()
    """Shares that are held out."""
    clean: CleanConf = CleanConf()
    """Normalisation, quality rules, personal data."""
    dedup: DedupConf = DedupConf()
    """Near-duplicates."""
    evalset: EvalsetConf = EvalsetConf()
    """The frozen evaluation set; a new version takes in the held-out documents of today."""
    decontaminate: DecontaminateConf = DecontaminateConf()
    """Overlap with the evaluation set, and with others."""
    losses: LossesConf = LossesConf()
    """How much of a source a stage may drop before that is a warning, or an error."""
    contract: ContractConf = ContractConf()
    """What cleaned documents and tokens must be like."""
    upsample: UpsampleConf | None = None
    """Which training documents are seen more than once, by how often they were duplicated; None for none."""

    @model_validator(mode="after")
    def _licences_are_of_known_sources(self) -> DataConf:
        if unknown := sorted(self.licences.by_source.keys() - self.sources.keys()):
            raise ValueError(
                f"data.licences.by_source names {', '.join(unknown)}, which is no source here; there are: "
                f"{', '.join(self.sources)}"
            )
        return self

    @model_validator(mode="after")
    def _allowed_losses_are_of_known_sources(self) -> DataConf:
        if unknown := sorted(self.losses.allow.keys() - self.sources.keys()):
            raise ValueError(
                f"data.losses.allow names {', '.join(unknown)}, which is no source here; there are: "
                f"{', '.join(self.sources)}"
            )
        return self

    def origin(self, source: str) -> dict[str, str]:
        """The name and the kind of a source, as statistics have them."""
        return {"source": source, "kind": self.sources[source].kind}

    def admission(self, source: str) -> AdmitConf:
        """What decides on the documents of one source: other sources' licences do not make its shards again."""
        return AdmitConf(licences=self.licences.of(source), split=self.split)


class Recipe(Conf):
    """Everything that a run does, from sources to promoted models."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")
    """Names the runs, the models and what is remembered between runs."""
    data: DataConf
    """Sources and data stages."""
    tokenizer: TokenizerConf | None = TokenizerConf()
    """The tokenizer, trained once and pinned; null where nothing starts from what is pretrained."""
    model: NetworkConf | None
    """The architecture that is pretrained; null as for tokenizer."""
    pretrain: PretrainRecipe | None
    """The chain of pretraining segments; null as for tokenizer."""
    models: dict[ModelName, AnyModel] = Field(default_factory=dict)
    """The models that are made, measured, registered and promoted, by name; null leaves one out."""
    approval: ApprovalConf = ApprovalConf()
    """Who has the last word on what the gates accept."""
    engine: EngineConf = EngineConf()
    """How steps are carried out."""
    store: StoreConf = LocalStoreConf(kind="local")
    """Where artifacts are kept."""

    @field_validator("models", mode="before")
    @classmethod
    def _wanted(cls, models: Any) -> Any:
        return (
            {name: model for name, model in models.items() if model is not None} if isinstance(models, dict) else models
        )

    @field_validator("models")
    @classmethod
    def _named(cls, models: dict[str, ModelRecipe]) -> dict[str, ModelRecipe]:
        return {name: model.named(name) for name, model in models.items()}

    @property
    def pretrains(self) -> bool:
        """Whether a model starts from what this recipe pretrains; a recipe without models does nothing else."""
        return not self.models or any(model.start == PRETRAINED for model in self.models.values())

    @property
    def pretraining(self) -> tuple[TokenizerConf, NetworkConf, PretrainRecipe]:
        """Tokenizer, network and segments of a recipe that pretrains."""
        assert self.tokenizer and self.model and self.pretrain, "checked by _what_is_pretrained_is_told"
        return self.tokenizer, self.model, self.pretrain

    @property
    def in_order(self) -> dict[str, ModelRecipe]:
        """The models, each after the one that it starts from; raises `ValueError` for a start that leads nowhere."""
        done: dict[str, ModelRecipe] = {}

        def take(name: str, after: tuple[str, ...] = ()) -> None:
            model = self.models[name]
            if name in after:
                circle = " → ".join([*after[after.index(name) :], name])
                raise ValueError(f"models.{name}.start={model.start}: these start from each other: {circle}")
            if model.start in self.models:
                take(model.start, (*after, name))
            elif model.start != PRETRAINED and not model.is_reference and not model.is_open:
                known = [PRETRAINED, *(other for other in self.models if other != name)]
                raise ValueError(
                    f"models.{name}.start={model.start} is none of {', '.join(known)}, models:/NAME@ALIAS, "
                    f"store:STEP/KEY, ./FOLDER and hub:OWNER/NAME{nearest(model.start, known)}"
                )
            done.setdefault(name, model)

        for name in self.models:
            take(name)
        return done

    @model_validator(mode="after")
    def _what_is_pretrained_is_told(self) -> Recipe:
        if self.pretrains and (missing := [name for name in PRETRAINING if getattr(self, name) is None]):
            from_it = ", ".join(f"models.{name}" for name, one in self.models.items() if one.start == PRETRAINED)
            why = f"{from_it} starts from what is pretrained" if from_it else "without models a recipe only pretrains"
            raise ValueError(f"{missing[0]} is null, and {why}: leave {missing[0]}=null out, or choose a {missing[0]}")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if not self.pretrains:
            return self
        tokenizer, network, pretrain = self.pretraining
        if isinstance(network, NativeConf):
            for name, segment in pretrain.segments.items():
                if segment.seq_len > network.max_positions:
                    raise ValueError(
                        f"pretrain.segments.{name}.seq_len={segment.seq_len} is more than model.max_positions="
                        f"{network.max_positions}: raise that, or lower pretrain.segments.{name}.seq_len"
                    )
        counted = [name for name, model in self.models.items() if model.reads_bytes and model.register]
        if tokenizer.kind == "wordpiece" and counted:
            raise ValueError(
                "tokenizer.kind=wordpiece forgets white space and may forget capitals, so the bits per byte that "
                f"promote {', '.join(counted)} would count too little: use bpe or unigram, or register none of "
                f"them: set {' '.join(f'models.{name}.register=null' for name in counted)}"
            )
        return self

    @model_validator(mode="after")
    def _the_objective_has_what_it_needs(self) -> Recipe:
        if not self.pretrains:
            return self
        tokenizer, network, pretrain = self.pretraining
        if isinstance(network, NativeConf) or network.resolved_objective == "causal":
            return self
        objective, architecture = network.resolved_objective, network.architecture
        if objective == "masked" and not tokenizer.mask_token:
            raise ValueError(
                f"model.architecture={architecture} is trained to restore hidden words, and the tokenizer has no token "
                "to hide them behind: set \"tokenizer.mask_token='[MASK]'\""
            )
        wanted = max(network.noise.most_spans(segment.seq_len) for segment in pretrain.segments.values())
        if objective == "span" and tokenizer.sentinels < wanted:
            raise ValueError(
                f"model.architecture={architecture} is trained to restore up to {wanted} hidden spans of a text, and "
                f"the tokenizer has {tokenizer.sentinels} tokens to hide them behind: set "
                f"tokenizer.sentinels={wanted} or more, or lower model.noise.share or pretrain.segments.NAME.seq_len"
            )
        if pretrain.run.sample_every:
            raise ValueError(
                f"pretrain.run.sample_every: only a causal model continues text; a {architecture} is trained on hidden "
                "text: set pretrain.run.sample_every=null"
            )
        return self

    @model_validator(mode="after")
    def _models_can_be_made(self) -> Recipe:
        network = self.model
        sort = network.resolved_objective if network and not isinstance(network, NativeConf) else "causal"
        unfit: dict[str, str] = {}
        for name, model in self.in_order.items():
            if model.is_reference or model.is_open:
                continue
            before = self.models.get(model.start)
            if model.start in unfit:
                unfit[name] = ""
            elif (before.gives if before else sort) not in model.takes:
                what = f"models.{model.start} is of kind {before.kind}" if before else f"what is pretrained is {sort}"
                unfit[name] = f"{what}, and a model of kind {model.kind} is made from a {' or '.join(model.takes)} one"
            if unknown := sorted(set(model.data.sources) - self.data.sources.keys()):
                raise ValueError(
                    f"models.{name}.data.sources names {', '.join(unknown)}, which is no source here; there are: "
                    f"{', '.join(self.data.sources)}"
                )
        if unfit:
            first = next(name for name, why in unfit.items() if why)
            without = " ".join(f"models.{name}=null" for name in unfit)
            raise ValueError(f"models.{first} cannot be made: {unfit[first]}: set {without}")
        return self

    @model_validator(mode="after")
    def _models_have_names_of_their_own(self) -> Recipe:
        registered = {name: model.register for name, model in self.models.items() if model.register}
        for name, one in registered.items():
            for other, two in registered.items():
                if name < other and one.name == two.name:
                    raise ValueError(
                        f"models.{name} and models.{other} are both registered as {one.name}: give another "
                        f"models.{other}.register.name"
                    )
                if name < other and one.primary and two.primary:
                    raise ValueError(
                        f"models.{name} and models.{other} are both primary, and a run is about one: set "
                        f"models.{other}.register.primary=false"
                    )
        return self
