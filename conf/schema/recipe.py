"""The recipe: one model that names everything a pipeline run does."""

from __future__ import annotations

from pydantic import Field, model_validator

from conf.schema.base import Conf
from conf.schema.clean import AdmitConf, CleanConf, DecontaminateConf, DedupConf, EvalsetConf, LicencesConf, SplitConf
from conf.schema.data import CollectConf
from conf.schema.engine import EngineConf
from conf.schema.evaluate import EvaluateConf
from conf.schema.finetune import ChatConf, ClassifyConf
from conf.schema.model import NativeConf, NetworkConf
from conf.schema.pretrain import PretrainRecipe
from conf.schema.release import ReleaseConf
from conf.schema.store import LocalStoreConf, StoreConf
from conf.schema.tokenize import TokenizerConf, UpsampleConf
from conf.schema.validate import ContractConf, LossesConf, ValidateConf


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


class FinetuneRecipe(Conf):
    """What is made of the pretrained model; None leaves one out."""

    chat: ChatConf | None = None
    """A chat model, on conversations."""
    classify: ClassifyConf | None = None
    """A classifier, on labelled documents."""


class Recipe(Conf):
    """Everything that a run does, from sources to promoted models."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")
    """Names the runs, the models and what is remembered between runs."""
    data: DataConf
    """Sources and data stages."""
    tokenizer: TokenizerConf = TokenizerConf()
    """The tokenizer, trained once and pinned."""
    model: NetworkConf
    """The architecture that is pretrained."""
    pretrain: PretrainRecipe
    """The chain of pretraining segments."""
    finetune: FinetuneRecipe = FinetuneRecipe()
    """What follows pretraining."""
    evaluate: EvaluateConf = EvaluateConf()
    """How models are measured and gated."""
    release: ReleaseConf = ReleaseConf()
    """The names under which models are registered."""
    engine: EngineConf = EngineConf()
    """How steps are carried out."""
    store: StoreConf = LocalStoreConf(kind="local")
    """Where artifacts are kept."""

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.release.chat and not self.finetune.chat:
            raise ValueError("release.chat names a model, but finetune.chat is not set")
        if self.release.classifier and not self.finetune.classify:
            raise ValueError("release.classifier names a model, but finetune.classify is not set")
        if self.pretrain.run.nodes > 1 and self.store.kind != "local":
            raise ValueError(
                f"pretrain.run.nodes={self.pretrain.run.nodes}: several machines train from one folder of checkpoints, "
                "which a bucket is not: use store=local with store.path on a file system that all share"
            )
        if isinstance(self.model, NativeConf):
            for name, segment in self.pretrain.segments.items():
                if segment.seq_len > self.model.max_positions:
                    raise ValueError(
                        f"pretrain.segments.{name}.seq_len={segment.seq_len} is more than model.max_positions="
                        f"{self.model.max_positions}: raise that, or lower pretrain.segments.{name}.seq_len"
                    )
        if self.tokenizer.kind == "wordpiece" and (self.release.base or self.release.chat):
            raise ValueError(
                "tokenizer.kind=wordpiece forgets white space and may forget capitals, so the bits per byte that "
                "promote a base or chat model would count too little: use bpe or unigram, or leave those models out "
                "(release.base=null release.chat=null)"
            )
        return self

    @model_validator(mode="after")
    def _the_objective_has_what_it_needs(self) -> Recipe:
        if isinstance(self.model, NativeConf) or self.model.aim == "causal":
            return self
        aim = self.model.aim
        architecture = self.model.architecture
        if aim == "masked" and not self.tokenizer.mask_token:
            raise ValueError(
                f"model.architecture={architecture} is trained to restore hidden words, and the tokenizer has no token "
                "to hide them behind: set \"tokenizer.mask_token='[MASK]'\""
            )
        wanted = max(self.model.noise.most_spans(segment.seq_len) for segment in self.pretrain.segments.values())
        if aim == "span" and self.tokenizer.sentinels < wanted:
            raise ValueError(
                f"model.architecture={architecture} is trained to restore up to {wanted} hidden spans of a text, and "
                f"the tokenizer has {self.tokenizer.sentinels} tokens to hide them behind: set "
                f"tokenizer.sentinels={wanted} or more, or lower model.noise.share or pretrain.segments.NAME.seq_len"
            )
        parts = {
            "release.base": self.release.base,
            "release.chat": self.release.chat,
            "finetune.chat": self.finetune.chat,
            "finetune.classify": self.finetune.classify,
            "pretrain.run.sample_every": self.pretrain.run.sample_every,
        }
        if named := [name for name, part in parts.items() if part]:
            raise ValueError(
                f"{', '.join(named)}: only a causal model continues text and is fine-tuned or released here; a "
                f"{architecture} trained on hidden text is pretrained and exported: set "
                f"{' '.join(f'{name}=null' for name in named)}"
            )
        return self
