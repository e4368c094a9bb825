"""From sources to clean, split, decontaminated documents and their tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from conf.schema.data import CollectConf
from conf.schema.recipe import Recipe
from tasks.clean import steps as clean
from tasks.collect import steps as collect
from tasks.core.step import observe
from tasks.corpus import takedown
from tasks.corpus.funnel import source_of
from tasks.tokenize import steps as tokenize
from tasks.validate import steps as validate


@dataclass(frozen=True)
class Data:
    """What training and evaluation get."""

    documents: tuple[Any, ...]
    """One artifact per shard, with the parts train and valid."""
    evalset: Any
    """The frozen held-out documents."""
    recipe: str
    """The recipe's name."""
    clusters: Any
    """Which documents are alike, a part for each shard."""
    tokenizer: Any = None
    """None where nothing is pretrained."""
    tokens: tuple[Any, ...] = ()
    """One artifact per shard, and one per shard and pass of what is seen more than once; with the parts train and
    valid."""
    context: int | None = None
    """Tokens that what is pretrained looks at; None if that is not known."""

    def of(self, sources: tuple[str, ...]) -> Data:
        """The documents of some sources; of all if none is named."""
        kept = tuple(shard for shard in self.documents if not sources or source_of(shard.shard) in sources)
        return replace(self, documents=kept)


def prepare(recipe: Recipe) -> Data:
    """documents → tokens, if anything is pretrained on them."""
    data = documents_of(recipe)
    return tokenized(recipe, data) if recipe.pretrains else data


def documents_of(recipe: Recipe) -> Data:
    """observe → fetch → validate → split → clean → dedup → decontaminate → contract."""
    name, data = recipe.name, recipe.data
    ner_model = clean.recogniser(data.clean.names)
    shards = observe(f"shards/{name}", sources, data)
    confs = [data.sources[shard["source"]] for shard in shards]
    sets = data.decontaminate.against
    elsewhere = collect.fetch_evaluation.map(collect.observe_evaluations(sets), conf=[*sets.values()]) if sets else []
    fetched = collect.fetch_shard.map(shards, conf=confs)
    names, origins = [shard["shard"] for shard in shards], [data.origin(shard["source"]) for shard in shards]
    profiles = validate.profile_shard.map(fetched, origins, conf=data.validation.profile)
    kinds, brought = [origin["kind"] for origin in origins], collect.expectations_of(data.sources)
    rules = validate.rules_of(data.validation, names, kinds, brought)
    full = validate.in_full(fetched, data.validation)
    verdict = validate.validate_corpus.chained(f"accepted/{name}", tuple(profiles), full, rules, conf=data.validation)

    judged = validate.judged(verdict, names, data.validation)
    taken = observe(takedown.REF, takedown.concerning, fetched)
    admitted = [data.admission(shard["source"]) for shard in shards]
    split = clean.split_shard.map(fetched, taken, judged, conf=admitted)
    cleaned = clean.clean_shard.map(split, ner_model, conf=data.clean)
    signed = clean.sign_shard.map(cleaned, conf=data.dedup)
    clusters = clean.cluster.chained(f"dedup/{name}", tuple(signed), tuple(cleaned), conf=data.dedup)
    filtered = clean.filter_shard.map(cleaned, [clusters.part(shard) for shard in names], conf=data.dedup)
    validate.check_losses(validate.losses_of(fetched, split, cleaned, filtered), conf=data.losses)

    frozen = f"evalset/{name}/{data.evalset.name}-v{data.evalset.version}"
    way = clean.held_out(split, cleaned, filtered)
    evalset = clean.freeze_evalset.pinned(frozen, tuple(filtered), way, conf=data.evalset)
    (struck,) = observe(takedown.REF, takedown.concerning, [evalset])
    evalset = clean.strike_evalset(evalset, struck, conf=data.evalset) if struck else evalset
    against = (evalset, *elsewhere) if elsewhere else evalset
    counted = tuple(clean.count_ngrams.map(filtered, against, conf=data.decontaminate))
    common = clean.find_boilerplate(counted, against, conf=data.decontaminate)
    boilerplate = [common.part(shard) for shard in names]
    documents = tuple(clean.decontaminate_shard.map(filtered, against, boilerplate, conf=data.decontaminate))
    validate.check_losses(validate.losses_of(fetched, split, cleaned, filtered, documents), conf=data.losses)
    validate.check_documents(documents, conf=data.contract)
    return Data(documents, evalset, name, clusters)


def tokenized(recipe: Recipe, prepared: Data) -> Data:
    """train the tokenizer → tokenize (→ repeat) → contract."""
    name, data, documents = recipe.name, recipe.data, prepared.documents
    conf, network, _ = recipe.pretraining
    train = tuple(shard.part("train") for shard in documents)
    tokenizer = tokenize.train_tokenizer.pinned(f"tokenizer/{name}", train, conf=conf)
    tokens = tuple(tokenize.tokenize_shard.map(list(documents), tokenizer, conf=conf))
    if data.upsample:
        once, sizes = (
            [shard.part("train") for shard in tokens],
            [prepared.clusters.part(shard.shard) for shard in documents],
        )
        repeats = tokenize.repeat_shard.map(once, list(train), sizes, conf=data.upsample)
        tokens += tuple(shard.part(name) for name in data.upsample.passes for shard in repeats)
    validate.check_tokens(tokens, tokenizer, conf=data.contract)
    return replace(prepared, tokenizer=tokenizer, tokens=tokens, context=network.positions)


def sources(conf: CollectConf, memory: Any) -> tuple[Any, Any]:
    """What the sources hold now, and which shard each entry belongs to from now on."""
    shards = collect.observe_sources(conf, memory)
    return shards, collect.assignment_of(shards, memory)
