"""Models that answer: fine-tuned on conversations, measured by bits per byte of held-out answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conf.schema.methods import AdapterMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.core.step import foresee
from tasks.formats.metrics import BITS_PER_BYTE, NATS, NATS_PER_BYTE, PERPLEXITY
from tasks.models.chat.chat_options import ChatConf, ChatEval, ChatGate, ChatMethod, ChatTraining
from tasks.models.chat.steps import evaluate_chat, finetune_chat, foresee_chat, score_start, talks
from tasks.models.kind import Inputs, Kind, Named, Offer, Offers, forecast_tuning, reading, weights

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class ChatModel(ModelRecipe):
    """A model that answers: what it starts from, fine-tuned on conversations, the loss on the answers only."""

    kind: Literal["chat"]
    """Always chat."""
    method: ChatMethod = AdapterMethod(kind="lora")
    """Which weights are trained."""
    train: ChatTraining = ChatTraining()
    """On what, for how long."""
    evaluate: ChatEval = ChatEval()
    """How its answers are measured."""
    gate: ChatGate = ChatGate()
    """What it has to show before it is promoted."""
    reads_bytes: ClassVar[bool] = True

    @property
    def training(self) -> ChatConf:
        """What the step gets that trains it."""
        return self.told(ChatConf.model_validate({**dict(self.train), "method": self.method}))


class Chat(Kind):
    """A model that answers."""

    name = "chat"
    noun = "a chat model"
    what = "A language model fine-tuned on conversations; it answers."
    limits = "Its answers are neither checked nor filtered, and may be untrue, rude or beside the point."
    training = finetune_chat
    evaluation = evaluate_chat
    measuring = (score_start,)
    measures = (BITS_PER_BYTE, PERPLEXITY, NATS_PER_BYTE, NATS)
    compared = (BITS_PER_BYTE,)
    baselines: ClassVar = {"untuned": "before fine-tuning"}
    answering = "tasks.text.conversing"
    params: ClassVar = {"max_new_tokens": 64, "temperature": 0.8, "seed": 0}
    converses = True

    def train(self, conf: ChatModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Fine-tune what it starts from."""
        made = finetune_chat(weights(start), data.documents, conf=conf.training, about=about)
        if known := reading(conf, start, data):
            foresee(finetune_chat, foresee_chat, data.documents, *known, conf=conf.training)
        forecast_tuning(self, conf, start, data, talks)
        return made

    def evaluate(self, conf: ChatModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Bits per byte of the held-out answers."""
        return evaluate_chat(model, data.evalset, conf=conf.measurement, about=about)

    def before(self, conf: ChatModel, start: Any, model: Any, data: Inputs, about: str | None = None) -> Any:
        """What it was fine-tuned from, on the same answers."""
        if "untuned" not in conf.gate.floors:
            return ()
        return (score_start(weights(start), model, data.evalset, conf=conf.measurement, about=about),)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of answers."""
        from tasks.evaluate import metric

        return {one.name: one for one in (metric.BITS_PER_BYTE, metric.NATS)}

    def suggest(self, offers: Offers) -> Offer | None:
        """Where there are conversations."""
        if not offers.conversations:
            return None
        prompts = list(dict.fromkeys(offers.questions))[:3]
        options = {
            "kind": self.name, "start": "base", "train": {"epochs": 1, "learning_rate": 0.003},
            **({"evaluate": {"prompts": prompts}} if prompts else {}), "register": Named("chat"),
        }  # fmt: skip
        return Offer("chat", options, "conversations give a chat model")

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """The first of those that it was measured with."""
        return next(iter(conf["evaluate"]["prompts"]), "Hello!")


OPTIONS = ChatModel
KIND = Chat()
