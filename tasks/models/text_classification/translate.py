"""Copies of a classifier's examples by translation and back, batch by batch, each batch kept when it is done."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors import SafetensorError
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, LogitsProcessor

from tasks.core.errors import ConfigError, HostError
from tasks.core.events import Progress
from tasks.core.number_format import ahead
from tasks.core.small_files import write_atomically
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune.tuning import set_up
from tasks.formats.model_folder import refuse_foreign
from tasks.models.text_classification import classifier_training
from tasks.models.text_classification.augment import numbered
from tasks.models.text_classification.classifier_options import TranslateConf, TranslatorConf
from tasks.models.text_classification.translators import Identity, located, naming
from tasks.text.encode import Encoder

WAYS = ("there", "back")
Draws = Sequence[str]
"""For each text what its tokens are drawn by."""


def run(docs: Sequence[Path], models: dict[str, Identity], conf: TranslateConf, work: Workdir) -> Stats:
    """Write copies.parquet: id, number (which copy of the example) and text of each copy that is translated.

    Names are hidden before and after. A copy of which no text is left is empty. Batches that are done survive in
    `work.scratch`.
    """
    on_gpu = set_up(conf.classify)
    chosen = classifier_training.examples(docs, conf.classify)
    rows = _drawn(chosen.hidden(conf.classify), conf)
    seeds = [f"{conf.classify.seed}/{id_}/{number}" for id_, number in rows.select("id", "number").iter_rows()]
    texts, cut = rows["text"].to_list(), {}
    done = sum(1 for name in WAYS for _ in (work.scratch / name).glob("*.json"))
    progress = Progress(len(WAYS) * -(-len(texts) // conf.translate.batch), "batch", done)
    for name in WAYS:
        translator: TranslatorConf = getattr(conf.translate, name)
        with naming(name, translator):
            model = Translator(translator, located(translator, models[name], conf.translate.max_tokens), conf, on_gpu)
        texts, cut[name] = model.translated(texts, [f"{seed}/{name}" for seed in seeds], work, name, progress)
    texts = [re.sub(chosen.pattern, conf.classify.mask, text).strip() for text in texts]
    made = rows.select("id", "number").with_columns(pl.Series("text", texts, dtype=pl.String))
    made.write_parquet(work / "copies.parquet")
    return {
        "copies": made.height,
        "cut": cut,
        "empty": texts.count(""),
        "unchanged": sum(one == other for one, other in zip(texts, rows["text"], strict=True)),
    }


def _drawn(table: pl.DataFrame, conf: TranslateConf) -> pl.DataFrame:
    """The copies that are translated, as the seed, the example's id and the copy's number say."""
    assert conf.classify.augment
    copied = numbered(table, conf.classify.augment.copies)
    seed, share = conf.classify.seed, conf.translate.share
    taken = [
        random.Random(f"{seed}/{id_}/{number}/translate").random() < share
        for id_, number in copied.select("id", "number").iter_rows()
    ]
    return copied.filter(pl.Series(taken, dtype=pl.Boolean))


class Translator:
    """A model that translates texts in batches of like length."""

    def __init__(self, conf: TranslatorConf, folder: Path, options: TranslateConf, on_gpu: bool) -> None:
        self.conf, self.options, self.run = conf, options.translate, options.classify.run
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.tokenizer, model = _loaded(folder)
        self.model = model.to(self.device).eval()
        self.first = self._first_token()
        self.encoder = Encoder(self.tokenizer)

    def _first_token(self) -> int | None:
        """The token that says which language to write; sets which one is read."""
        if self.conf.source_language is not None:
            self._language(self.conf.source_language)
            self.tokenizer.src_lang = self.conf.source_language
        return None if self.conf.target_language is None else self._language(self.conf.target_language)

    def _language(self, name: str) -> int:
        of_m2m: Mapping[str, str] | None = getattr(self.tokenizer, "lang_code_to_token", None)
        if of_m2m is not None:  # M2M100's languages are no words of its vocabulary
            found = self.tokenizer.get_lang_id(name) if name in of_m2m else None
        else:
            found = self.tokenizer.get_vocab().get(name)
        if found is None:
            raise ConfigError(
                f"its tokenizer knows no language {name!r}: see source_language and target_language of "
                "models.NAME.train.augment.translate.there and models.NAME.train.augment.translate.back"
            )
        return int(found)

    def translated(
        self, texts: Sequence[str], draws: Draws, work: Workdir, name: str, progress: Progress
    ) -> tuple[list[str], int]:
        """The translations in the texts' order, and how many texts were cut off; batches that are made are counted.

        What a batch gives follows from its texts and draws alone, so that those that were done before are taken over
        from `work.scratch / name`.
        """
        most = self.options.max_tokens
        ids = self._encoded(texts, most + 1)
        order = sorted(range(len(texts)), key=lambda n: (-len(ids[n]), n))
        batches = [order[at : at + self.options.batch] for at in range(0, len(order), self.options.batch)]
        folder, out, started = work.scratch / name, [""] * len(texts), time.monotonic()
        folder.mkdir(exist_ok=True)
        done = len(list(folder.glob("*.json")))
        for number, batch in enumerate(batches):
            path = folder / f"{number:06d}.json"
            if not path.exists():
                found = self._batch([texts[n] for n in batch], [draws[n] for n in batch])
                write_atomically(path, json.dumps(found).encode())
                work.progress += 1
                progress.add()
                if number + 1 == len(batches) or (number + 1) % self.run.log_every == 0:
                    self._say(name, number + 1, len(batches), (time.monotonic() - started) / (number + 1 - done))
            for n, text in zip(batch, json.loads(path.read_bytes()), strict=True):
                out[n] = text
        return out, sum(len(one) > most for one in ids)

    def _encoded(self, texts: Sequence[str], most: int) -> list[list[int]]:
        return self.encoder.framed([self.conf.prefix + text for text in texts], most)

    @torch.inference_mode()
    def _batch(self, texts: Sequence[str], draws: Draws) -> list[str]:
        most = self.options.max_tokens
        held = self.tokenizer.pad({"input_ids": self._encoded(texts, most)}, return_tensors="pt").to(self.device)
        options: dict[str, Any] = {"max_new_tokens": most, "do_sample": False, "num_beams": self.options.beams}
        if self.first is not None:
            options["forced_bos_token_id"] = self.first
        if self.options.temperature:
            options["logits_processor"] = [Drawn(draws, most, self.options.temperature)]
        ids = self.model.generate(input_ids=held["input_ids"], attention_mask=held["attention_mask"], **options)
        said: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return said

    def _say(self, name: str, done: int, batches: int, seconds: float) -> None:
        print(f"{name}: batch {done}/{batches}  left {ahead((batches - done) * seconds)}", flush=True)


class Drawn(LogitsProcessor):
    """Leaves one token for each row, drawn from its probabilities at a temperature by numbers of the row's own.

    So what a row becomes does not depend on which others are in its batch, as it would with one generator for all.
    """

    def __init__(self, draws: Draws, most: int, temperature: float) -> None:
        seeds = [int.from_bytes(hashlib.sha256(draw.encode()).digest()[:8]) for draw in draws]
        # float32 keeps each number so far below 1 that its product with a sum in float64 stays below that sum
        self.uniform = np.stack([np.random.default_rng(seed).random(most, dtype=np.float32) for seed in seeds])
        self.temperature, self.begin = temperature, -1

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Minus infinity for all tokens but the drawn one."""
        self.begin = input_ids.shape[1] if self.begin < 0 else self.begin
        sums = (scores.double() / self.temperature).softmax(-1).cumsum(-1)
        column = torch.from_numpy(self.uniform[:, input_ids.shape[1] - self.begin]).to(sums)
        drawn = torch.searchsorted(sums, column[:, None] * sums[:, -1:], right=True)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


def _loaded(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model; raises `ConfigError` for what is none, `HostError` for a package that it needs."""
    try:
        refuse_foreign(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, found = AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True,
        )  # fmt: skip
    except ImportError as error:
        raise HostError(f"{_first(error)}: install it beside fromzero, with pip") from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            f"cannot be loaded as a sequence-to-sequence model with its tokenizer ({_first(error)}): see that "
            "transformers' AutoModelForSeq2SeqLM and AutoTokenizer load it"
        ) from error
    if missing := sorted(found["missing_keys"]):  # transformers would begin with random ones
        raise ConfigError(f"its weights lack {', '.join(missing[:3])} of {len(missing)}: write it with save_pretrained")
    if tokenizer.pad_token_id is None:
        raise ConfigError("its tokenizer has no pad token: set one and write it again with save_pretrained")
    return tokenizer, model


def _first(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip().rstrip(":")
