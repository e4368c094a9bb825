"""Token files of a shard's documents: the ids of each part in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from conf.schema.tokenize import TokenizerConf
from tasks.core.errors import ArtifactError
from tasks.core.events import Progress
from tasks.formats.document_files import documents_in
from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.formats.row_counts import rows_in
from tasks.formats.tokens import TokenWriter
from tasks.tokenize.engines import Differs, Engine, Tokenizers, engines
from tasks.tokenize.texts import read_texts
from tasks.tokenize.train import use_threads

PARTS = ("train", "valid")


def load(folder: Path, conf: TokenizerConf) -> tuple[Tokenizer, int]:
    """The tokenizer in a folder, taking special tokens in a text as plain text, and the id of eos."""
    use_threads()
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    tokenizer.encode_special_tokens = True
    eos = tokenizer.token_to_id(conf.eos_token)
    if eos is None:
        raise ArtifactError(
            f"{folder / TOKENIZER_FILE} has no token {conf.eos_token!r}: train it again (--refresh train_tokenizer) "
            "or set tokenizer.eos_token back"
        )
    return tokenizer, eos


def write_part(
    docs: Path,
    out: Path,
    tokenizer: Tokenizer,
    eos: int,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tokenize the texts of one table into the folder `out` as a stream; returns what stands in meta.json.

    Raises what the engine raises; what was written then is overwritten by the next call.
    """
    engine = engine or Tokenizers(tokenizer)
    with TokenWriter(out, tokenizer.get_vocab_size(), eos) as writer:
        for texts in read_texts(docs):
            ids, counts = engine.encode(texts)
            size = sum(len(text.encode()) for text in texts)
            writer.add(np.insert(ids, np.cumsum(counts), eos), counts + 1, size)
            if progress is not None:
                progress.add(len(texts))
    return writer.meta


def write_shard(docs: Path, tokenizer: Path, out: Callable[[str], Path], conf: TokenizerConf) -> dict[str, Any]:
    """Tokenize PART/docs.parquet under `docs` for train and valid; returns tokens, bytes and documents per part, and
    the engine that wrote them."""
    model, eos = load(tokenizer, conf)
    tables = {part: documents_in(docs, part) for part in PARTS}
    for engine in engines(model, conf):
        progress = Progress(rows_in(tables.values()), "document")
        try:
            parts = {part: write_part(table, out(part), model, eos, engine, progress) for part, table in tables.items()}
        except Differs as difference:
            print(f"{difference}: tokenizers writes this shard", flush=True)
        else:
            break
    return {"parts": parts, "tokens": sum(meta["tokens"] for meta in parts.values()), "engine": engine.name}
