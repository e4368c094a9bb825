"""The verdict: what came out of a run, in a headline and a sentence for each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.views.model_view import Model
from tasks.views.run_data import Run

SIGNS = {"good": "✓", "same": "=", "warning": "!", "bad": "✗"}
"""Colour is never the only signal."""


@dataclass(frozen=True)
class Verdict:
    """`tone` is good, same, warning or bad."""

    tone: str
    word: str
    headline: str
    sentences: tuple[str, ...]

    @property
    def sign(self) -> str:
        """The mark that goes with the tone."""
        return SIGNS[self.tone]


def judge(run: Run, models: Sequence[Model]) -> Verdict:
    """What came out, and why."""
    sentences = tuple(sentence(model) for model in models if model.state != "failed")
    state = run.record.get("state")
    if state == "failed":
        return Verdict("bad", "Failed", _where_failed(run), sentences)
    if state == "interrupted":
        head = "The run was interrupted: what was made stays made, and the same command goes on"
        return Verdict("warning", "Interrupted", head, sentences)
    if any(model.state == "refused" for model in models) or state == "refused":
        refused = [model.name for model in models if model.state == "refused"]
        head = f"{_listed(refused) or 'A candidate'} {'was' if len(refused) < 2 else 'were'} not promoted"
        causes = [(model.name, cause) for model in models if model.state == "refused" and (cause := model.cause())]
        told = [f"it {cause}" if len(refused) < 2 else f"{name} {cause}" for name, cause in causes]
        head += f": {'; '.join(told)}" if told else ""
        return Verdict("warning", "Refused", head, sentences)
    if waiting := [step for step in run.steps if step.state == "waiting"]:
        names = [model.name for model in models if model.state == "waiting"]
        who = _listed(names) or _listed([step.label for step in waiting])
        head = f"{who} {'await' if len(names) > 1 else 'awaits'} approval"
        return Verdict("warning", "Awaiting approval", head, sentences)
    if promoted := [model for model in models if model.state == "promoted"]:
        first = promoted[0]
        one = f"{first.name} version {first.version} is the new champion"
        head = one if len(promoted) == 1 else f"{len(promoted)} new champions: {_listed([m.name for m in promoted])}"
        return Verdict("good", "Promoted", head, sentences)
    if state == "reached":
        last = next((step.name for step in reversed(run.steps)), "the start")
        return Verdict("same", "Stopped as asked", f"The run went as far as {last}, as asked", sentences)
    if models and all(model.state == "champion" for model in models):
        return Verdict("same", "Unchanged", "The same models came out: the champions are unchanged", sentences)
    return Verdict("same", "Done", "The run is complete; no model was promoted", sentences)


def sentence(model: Model) -> str:
    """What became of a model, with the metric that decides, its interval, and what it is compared with."""
    who = model.name + (f" version {model.version}" if model.version else "")
    came = {
        "promoted": "was promoted" + (f" in place of version {model.replaced}" if model.replaced else ""),
        "champion": "is the champion already",
        "refused": "was refused",
        "measured": "was measured",
        "waiting": "awaits approval",
    }.get(model.state, model.state)
    head = model.head()
    if head is None:
        return f"{who} {came}; its measurements are not in the store any more."
    others = [(name, value) for name, value in [("the champion before", model.champion())] if value]
    others += model.baselines()
    beside = ", ".join(f"{name} {value}" for name, value in others)
    beaten_by = model.beaten_by()
    short = f" It does not beat: {', '.join(beaten_by)}." if beaten_by else ""
    why = f" {model.reasons[-1].removeprefix('reason').strip()}" if model.state == "refused" and model.reasons else ""
    why = f" It {model.cause()}." if model.cause() else why
    return f"{who} {came}: {model.metric.label} {head}{f'; {beside}' if beside else ''}.{short}{why}"


def _where_failed(run: Run) -> str:
    labels = list(dict.fromkeys(step.label for step in run.steps if step.state == "failed"))
    return f"The run failed in {_listed(labels)}" if labels else "The run failed"


def reason(run: Run) -> str:
    """Why a run failed, or what it waits for, in the words of its steps; empty if nobody wrote that down."""
    state = run.record.get("state")
    if state not in ("failed", "waiting"):
        return ""
    steps = [step.message for step in run.steps if step.state == state and step.message]
    return "\n".join(dict.fromkeys(steps)) or str(run.record.get("error") or "")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
