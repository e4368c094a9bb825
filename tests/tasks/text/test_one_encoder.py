"""That one module asks tokenizers, so that text is text wherever it is read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOM = "tasks/text/encode.py"
RAW = {"tasks/tokenize/engines.py", "tasks/tokenize/fertility.py"}
"""Where pretraining's ids are made; test_encode.py proves that the room's are the same."""
METHODS = {
    "apply_chat_template", "batch_encode_plus", "encode_batch", "encode_batch_fast", "encode_plus",
    "encode_message_with_chat_template", "prepare_for_model", "prepare_seq2seq_batch", "render_jinja_template",
}  # fmt: skip
KWARGS = {"add_special_tokens", "split_special_tokens", "return_tensors", "return_offsets_mapping", "truncation"}
TAKE_IDS = {"batch_decode", "decode", "pad"}


def last(node: ast.expr) -> str:
    """The last name in what is called, or in what a method is called of."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def asks(call: ast.Call) -> bool:
    """Whether a call turns text into ids by a tokenizer."""
    name, method = last(call.func).strip("_"), isinstance(call.func, ast.Attribute)
    owner = last(call.func.value).strip("_") if isinstance(call.func, ast.Attribute) else ""
    if name in METHODS or ({keyword.arg for keyword in call.keywords} & KWARGS and name not in TAKE_IDS):
        return True
    if name == "encode":
        return "token" in owner or "backend" in owner
    return name == "tokenizer" and (not method or owner in ("self", "encoder", "model"))


def asked(source: str) -> Iterator[int]:
    """The lines that do."""
    return (node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and asks(node))


@pytest.mark.parametrize(
    "line",
    [
        "ids = tokenizer(text)",
        "ids = self.tokenizer(text)['input_ids']",
        "ids = held.tokenizer(text, truncation=True)",
        "tokenizer.encode(text).ids",
        "self._tokenizer.encode(text)",
        "model.tokenizer.apply_chat_template(turns)",
        "backend.encode_batch(texts)",
        "self.encoder(text, add_special_tokens=False)",
        "render_jinja_template([turns])",
    ],
)
def test_each_way_to_ask_a_tokenizer_is_seen(line: str) -> None:
    assert list(asked(line)) == [1]


@pytest.mark.parametrize(
    "line",
    ["text.encode()", "text.encode('utf-8', 'replace')", "encoder.texts(texts)", "tokenizer.decode(ids)",
     "load_tokenizer(folder)", "_tokenizer_of(run)", "tokenizer.pad({'input_ids': rows}, return_tensors='pt')"],
)  # fmt: skip
def test_nothing_else_is_taken_for_it(line: str) -> None:
    assert list(asked(line)) == []


def test_no_other_module_asks_a_tokenizer() -> None:
    paths = [path for folder in ("flows", "tasks") for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {
        f"{name}:{line}"
        for path in paths
        if (name := path.relative_to(ROOT).as_posix()) not in {ROOM, *RAW}
        for line in asked(path.read_text(encoding="utf-8"))
    }
    assert not found, f"these ask a tokenizer themselves, use {ROOM}: {sorted(found)}"
