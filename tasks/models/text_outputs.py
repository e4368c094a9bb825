"""What a network that says one thing of a whole text says of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from tasks.evaluate import scoring
from tasks.evaluate.bootstrap import Floats
from tasks.finetune import pooled_classifier as pooled_classifier  # transformers learns to load it
from tasks.formats.model_folder import refuse_foreign
from tasks.text.encode import Encoder
from tasks.text.text_models import OWN_HEAD, cut, framed


def load(model: Path, device: torch.device) -> tuple[Any, Any]:
    """Network (in float32, ready to score) and tokenizer of a model's folder."""
    refuse_foreign(model, OWN_HEAD)
    network: Any = AutoModelForSequenceClassification.from_pretrained(
        model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    return network.to(device).eval(), scoring.load_tokenizer(model, OWN_HEAD)


def logits(model: Any, tokenizer: Any, texts: Sequence[str], task: dict[str, Any], batch_tokens: int) -> Floats:
    """(texts, outputs) in float64, in the order of the texts, each encoded as in training: `task` is the model's
    task.json."""
    pad = model.config.pad_token_id
    most, end = task["max_length"], task.get("suffix", ())
    ids = [cut(framed(row, task, pad), most, end) for row in Encoder(tokenizer).texts(texts, most)]
    result = np.zeros((len(ids), model.config.num_labels))
    whole = [(n, 0, len(row), 1) for n, row in enumerate(ids)]
    with torch.inference_mode():
        for batch in scoring.followed(scoring.batches(whole, batch_tokens)):
            width = batch[0][2]
            filled = [[*ids[n], *[pad] * (width - len(ids[n]))] for n, *_ in batch]
            text = [[1] * len(ids[n]) + [0] * (width - len(ids[n])) for n, *_ in batch]
            tokens, mask = (torch.tensor(rows, device=model.device) for rows in (filled, text))
            said = model(input_ids=tokens, attention_mask=mask).logits.double()
            result[[n for n, *_ in batch]] = said.cpu().numpy()
    return result
