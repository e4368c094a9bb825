"""A run as people are to see it, put together once: terminal, Prefect's pages and the report only draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.core import run_warnings
from tasks.core.engine.workspace import Outcome
from tasks.core.run_warnings import Warned
from tasks.core.store.store import Store
from tasks.corpus import funnel
from tasks.formats.evaluation import CALIBRATION_FILE, CONFUSION_FILE, SAMPLES_FILE
from tasks.formats.metrics import Metric, Value, values
from tasks.models import kind as kinds
from tasks.views import model_view, run_verdict
from tasks.views.lineage import Lineage, Node
from tasks.views.model_view import Model
from tasks.views.run_data import Run, gather, running
from tasks.views.run_verdict import Verdict


@dataclass(frozen=True)
class RunView:
    """How a run ended, its models, what it measured, and the way of its documents."""

    run: Run
    warnings: tuple[Warned, ...] = ()

    @classmethod
    def recorded(cls, store: Store, name: str, record: Mapping[str, Any]) -> RunView:
        """A run of which a record was kept; older records lack some of it."""
        return cls(gather(store, name, record), tuple(Warned(**one) for one in record.get("warnings") or ()))

    @classmethod
    def running(cls, store: Store | None, record: Mapping[str, Any], outcomes: Sequence[Outcome]) -> RunView:
        """A run that has these outcomes so far, with as much of a record as there is."""
        return cls(running(store, record, outcomes), tuple(run_warnings.of(outcomes)))

    @cached_property
    def models(self) -> list[Model]:
        """What became of each model, the primary one first."""
        return model_view.models(self.run)

    @cached_property
    def verdict(self) -> Verdict:
        """What came out, in a headline and a sentence for each model."""
        return run_verdict.judge(self.run, self.models)

    @cached_property
    def lineage(self) -> list[Node]:
        """What of the run was made from what, each after what it was made from."""
        return Lineage(self.run, self.models).nodes

    @property
    def why(self) -> str:
        """Why the run failed, or what it waits for; empty if nobody wrote that down."""
        return run_verdict.reason(self.run)

    @property
    def refusals(self) -> list[str]:
        """A line for each refused model, with what decided."""
        return [step.message.partition("\n")[0] for step in self.run.steps if step.state == "refused" and step.message]

    @property
    def other_measurements(self) -> list[tuple[str, list[tuple[Metric, Value]]]]:
        """What steps that evaluate no model for the gate measured, each once, what stands for it first."""
        found = {}
        for step in self.run.steps:
            metrics = step.stats.get("metrics")
            if metrics and kinds.evaluated_by(step.name) is None and step.label not in found:
                head = kinds.headline(step.name, metrics)
                own = sorted(values(metrics).items(), key=lambda item: item[0] != head)
                found[step.label] = [(kinds.metric(name), value) for name, value in own]
        return list(found.items())

    def samples(self, model: Model) -> list[dict[str, Any]]:
        """What a model wrote: prompt, how, text; of what the record holds, no file is looked for."""
        kept = self.run.record.get("samples") or {}
        found = kept.get(model.evaluation.label) if model.evaluation else None
        return found if found is not None else self._beside(model, SAMPLES_FILE) or []

    def confusion(self, model: Model) -> dict[str, Any] | None:
        """Labels, and how many items of each (row) were taken for each (column)."""
        found: dict[str, Any] | None = self._beside(model, CONFUSION_FILE)
        return found

    def calibration(self, model: Model) -> list[dict[str, float]]:
        """For each bin of confidence its items, mean confidence and accuracy."""
        return self._beside(model, CALIBRATION_FILE) or []

    def _beside(self, model: Model, file: str) -> Any:
        evaluation = model.evaluation.manifest if model.evaluation else None
        return self.run.read_json(evaluation, f"content/{file}")

    @cached_property
    def stages(self) -> list[funnel.Stage]:
        """The way of the documents from collecting to decontamination."""
        return funnel.funnel(self.run.stats)

    @property
    def way(self) -> str:
        """The same in a sentence; empty without stages."""
        return funnel.sentence(self.stages)

    @property
    def aside(self) -> dict[str, Mapping[str, Any]]:
        """The shards that validation set aside: documents, and why each failed."""
        return funnel.set_aside(self.run.stats("validate_corpus"))

    @property
    def unmatched(self) -> list[str]:
        """Allowed licences that no document has."""
        return funnel.unmatched(self.run.stats("split_shard"))

    @property
    def overlaps(self) -> list[tuple[str, int]]:
        """The evaluation documents that took most training documents out."""
        return funnel.overlapping(self.run.stats("decontaminate_shard"))

    @property
    def anew(self) -> str:
        """What finding duplicates anew would change; empty if that is nothing."""
        return funnel.anew(self.run.stats("cluster"))

    @property
    def repeated(self) -> str:
        """How many documents are seen more than once; empty without any."""
        return funnel.again(self.run.stats("repeat_shard"))
