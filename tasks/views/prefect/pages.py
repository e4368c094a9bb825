"""All pages of a run: which one belongs to which step, and under what key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tasks.core.artifact import Artifact, Manifest
from tasks.core.engine.reporting import Made, Page, Run
from tasks.core.engine.workspace import Outcome
from tasks.core.plan.keys import flat
from tasks.core.store.store import Store
from tasks.corpus.funnel import DROPPING
from tasks.formats.document_files import DOCUMENTS_FILE
from tasks.formats.licence_counts import by_licence
from tasks.models import kind as kinds
from tasks.views.prefect import data_pages, model_pages, plots
from tasks.views.prefect import run_page as whole
from tasks.views.prefect.markdown import join, table, warnings
from tasks.views.run_data import registered
from tasks.views.run_view import RunView

MOST = 200
"""Rows of a plain table of statistics."""
PAGES: dict[str, Callable[[Run, Made], str]] = {
    "validate_corpus": lambda run, made: data_pages.validation(made) + model_pages.footer(run, made),
    "check_losses": lambda run, made: data_pages.losses(made) + model_pages.footer(run, made),
    "check_documents": lambda run, made: data_pages.validation(made) + model_pages.footer(run, made),
    "check_tokens": lambda run, made: data_pages.validation(made) + model_pages.footer(run, made),
    "pretrain": model_pages.training,
    "gate": model_pages.gate,
    "register_model": model_pages.version,
    "promote_model": model_pages.version,
}
"""By step; any other that is no shard's shows its statistics."""
GATHERED = ("train_tokenizer",)
"""Steps whose page waits for the shards that follow."""
FUNNEL = ("fetch_shard", *DROPPING)
VERDICTS = ("validate_corpus", "check_documents", "check_tokens")
"""Steps whose pages show their warnings among the outcomes of expectations."""
NAMED = {
    "validate_corpus": "validation",
    "check_losses": "losses",
    "check_documents": "contract-documents",
    "check_tokens": "contract-tokens",
}


class RecipePages:
    """The engine's `Pages` for recipes: implements them with `kinds`, each source's kind by name."""

    def __init__(self, store: Store, kinds: Mapping[str, str]) -> None:
        self.store, self.kinds = store, kinds

    def draw(self, step: str, folder: Path) -> None:
        """Pictures of a work directory, into its aux/plots/."""
        plots.draw(step, folder)

    def page(self, run: Run, made: Made) -> Page | None:
        """The page of one artifact or effect."""
        if made.step in GATHERED:
            return None
        write = PAGES.get(made.step) or _of_kind(made.step) or _statistics
        beside = "" if made.step in VERDICTS else warnings(made.warnings)
        markdown = join(write(run, made), beside) if beside else write(run, made)
        return Page(key(run.recipe, _name(made)), markdown, model_pages.short(made.about.get("ref", made.label)))

    def stages(self, run: Run, step: str, outcomes: Sequence[Outcome]) -> list[Page]:
        """Sources after fetching, the funnel after the last stage that drops, the tokenizer after tokenizing, and
        upsampling."""

        def new(*steps: str) -> bool:
            return any(outcome.state == "completed" for outcome in outcomes if outcome.step in steps)

        def page(name: str, markdown: str) -> list[Page]:
            return [Page(key(run.recipe, name), markdown, f"{run.name}: {name}")]

        if step == "fetch_shard" and new("fetch_shard"):
            fetched = data_pages.of_step(outcomes, step)
            counted = data_pages.by_frequency(by_licence(self._documents(fetched)))
            return page("sources", data_pages.sources(fetched, self.kinds, counted))
        if step == "decontaminate_shard" and new(*FUNNEL):
            return page("funnel", data_pages.way(RunView.running(self.store, {}, outcomes)))
        if step == "tokenize_shard" and new("train_tokenizer", "tokenize_shard"):
            trained = data_pages.of_step(outcomes, "train_tokenizer")
            return page("tokenizer", data_pages.tokenizer(trained[-1], data_pages.of_step(outcomes, step)))
        if step == "repeat_shard" and new("repeat_shard"):
            return page("upsampling", data_pages.upsampling(data_pages.of_step(outcomes, step)))
        return []

    def summary(self, run: Run, state: str, outcomes: Sequence[Outcome]) -> Page:
        """The page about the whole run."""
        return Page(key(run.recipe, "run"), whole.summary(run, state, self._view(run, state, outcomes)), run.name)

    def _view(self, run: Run, state: str, outcomes: Sequence[Outcome]) -> RunView:
        config = {"data": {"sources": {name: {"kind": kind} for name, kind in self.kinds.items()}}}
        record = {"name": run.name, "state": state, "models": registered(outcomes), "config": config}
        return RunView.running(self.store, record, outcomes)

    def _documents(self, fetched: Sequence[Outcome]) -> list[Path]:
        found = [self.store.look(outcome.step, outcome.key or "") for outcome in fetched]
        return [self.store.local(m) / "content" / DOCUMENTS_FILE for m in found if isinstance(m, Manifest)]


def _of_kind(step: str) -> Callable[[Run, Made], str] | None:
    """The page of a step that a kind of models declares."""
    if kinds.measured_by(step) is not None:
        return model_pages.evaluation
    return model_pages.training if kinds.trained_by(step) is not None else None


def key(*words: str) -> str:
    """A key as Prefect takes it: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def _name(made: Made) -> str:
    """What tells pages of one step apart: gates by what they compare, versions by their model."""
    first = made.inputs[0] if made.inputs else None
    if made.step == "gate" and isinstance(first, Artifact):
        return made.label.replace("gate", first.step.replace("evaluate", "gate"), 1)
    if made.step in ("register_model", "promote_model") and "name" in made.stats:
        return f"{made.step.removesuffix('_model')} {made.stats['name']}"
    return NAMED.get(made.step, made.label)


def _statistics(run: Run, made: Made) -> str:
    rows = [{"": name, "value": value} for name, value in flat(made.stats).items()]
    return join(f"# {made.label}", table(rows[:MOST]), model_pages.footer(run, made))
