"""A conversation with a registered chat model: loaded once, asked turn by turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks.core.errors import ConfigError
from tasks.register import registry
from tasks.register.generate import kind_of, weights_folder
from tasks.register.mlflow_reader import ModelVersion

TOP_K = 50


class Conversation:
    """What was said so far, and the model that answers."""

    def __init__(self, uri: str, ref: str, max_new_tokens: int, temperature: float, seed: int) -> None:
        """Load the chat model that NAME, NAME@ALIAS or NAME@VERSION means.

        Raises `ConfigError` if there is none, or it is no chat model.
        """
        if max_new_tokens < 1 or temperature < 0:
            raise ConfigError("max_new_tokens must be 1 or more and temperature 0 or more")
        version = registry.resolve(uri, ref)
        _refuse_others(uri, version)
        from tasks.text.generation import context_length, load

        self.name, self.version = version.name, version.version
        self.new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        with weights_folder(uri, version) as folder:
            self._model, self._encoder = load(folder)
        self._length = context_length(self._model)
        self.turns: list[dict[str, str]] = []

    def reset(self) -> None:
        """Forget what was said."""
        self.turns = []

    def answer(self, said: str, on_text: Callable[[str], None], stop: Callable[[], bool]) -> str:
        """The model's answer, handed to `on_text` as it is written; ends early once `stop` says so.

        Equal seeds, turns and stops give equal answers. What was answered belongs to the conversation.
        """
        self.turns.append({"role": "user", "content": said})
        text = self._generate(self._ids(), on_text, stop)
        self.turns.append({"role": "assistant", "content": text})
        return text

    def _ids(self) -> list[int]:
        """The conversation through the model's template, the oldest turns left out until the answer has room."""
        room = self._length - min(self.new_tokens, self._length // 2)
        for first in range(0, len(self.turns), 2):
            (said,) = self._encoder.conversations([self.turns[first:]], ask=True)
            ids = said.ids
            if len(ids) <= room:
                break
        return ids[-room:]

    def _generate(self, ids: list[int], on_text: Callable[[str], None], stop: Callable[[], bool]) -> str:
        import torch
        from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

        class Streamer(TextStreamer):
            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                on_text(text)

        class Stop(StoppingCriteria):
            def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
                return torch.full((input_ids.shape[0],), stop(), dtype=torch.bool, device=input_ids.device)

        how: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            how = {"do_sample": True, "temperature": self.temperature, "top_k": TOP_K}
        tokens = torch.tensor([ids], device=self._model.device)
        tokenizer: Any = self._encoder.tokenizer
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        torch.manual_seed(self.seed + len(self.turns))
        with torch.inference_mode():
            made = self._model.generate(
                tokens, attention_mask=torch.ones_like(tokens), pad_token_id=pad,
                max_new_tokens=max(1, min(self.new_tokens, self._length - len(ids))),
                streamer=Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
                stopping_criteria=StoppingCriteriaList([Stop()]), **how,
            )  # fmt: skip
        return str(tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True))


def _refuse_others(uri: str, version: ModelVersion) -> None:
    kind = kind_of(version)
    if kind.converses:
        return
    verb = "generate" if kind.writes else "predict"
    what = f'{kind.noun} and holds no conversation; `fromzero {verb} {version.name}@{version.version} "…"` asks it'
    chats = [
        name for name in registry.names(uri) if any(kind_of(one).converses for one in registry.versions(uri, name))
    ]
    there = f"; chat models: {', '.join(chats)}" if chats else ""
    raise ConfigError(f"{version.name} is {what}{there}")
