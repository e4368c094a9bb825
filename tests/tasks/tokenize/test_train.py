import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer

from conf.schema.tokenize import TokenizerConf, TokenizerRun
from tasks.core.errors import DataError
from tasks.tokenize.train import save, train, train_tokenizer

CONF = TokenizerConf(vocab_size=800)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " What is an array?\n"},
    {"role": "assistant", "content": "A table of numbers."},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "Bye!"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write, docstrings) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    docs = [write(folder / "docs/a.parquet", docstrings[:300]), write(folder / "docs/b.parquet", docstrings[300:])]
    train_tokenizer(docs, folder.__truediv__, CONF, folder)
    return folder


@pytest.fixture(scope="module")
def fast(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def auto(folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("engine", ["gigatoken", "tokenizers"])
def test_the_same_texts_give_the_same_tokenizer_whatever_the_number_of_threads(
    tmp_path: Path, write, docstrings, folder: Path, monkeypatch, engine: str
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    docs = [write(tmp_path / "a.parquet", docstrings[:300]), write(tmp_path / "b.parquet", docstrings[300:])]
    conf = CONF.model_copy(update={"run": TokenizerRun(engine=engine)})
    tokenizer, learned_by = train(docs, conf, tmp_path)
    assert learned_by == engine
    save(tokenizer, tmp_path.__truediv__, CONF)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_the_vocabulary_has_the_size_asked_for_and_special_tokens_first(fast: Tokenizer) -> None:
    assert fast.get_vocab_size() == 800
    assert [fast.token_to_id(token) for token in CONF.special_tokens] == list(range(len(CONF.special_tokens)))


@given(st.text())
def test_decoding_gives_back_the_exact_text(fast: Tokenizer, text: str) -> None:
    assert fast.decode(fast.encode(text).ids, skip_special_tokens=False) == text


def test_transformers_loads_it_with_identical_ids(auto, fast: Tokenizer, docstrings) -> None:
    texts = [*docstrings[:100], "caf\u00e9 \u4e2d\u6587 \U0001f600", " lead", "trail \n\n", "a <|user|> b<|endoftext|>"]
    assert auto(texts, add_special_tokens=False)["input_ids"] == [encoding.ids for encoding in fast.encode_batch(texts)]
    assert auto(texts)["input_ids"] == auto(texts, add_special_tokens=False)["input_ids"]
    assert [auto.decode(ids) for ids in auto(texts)["input_ids"]] == texts


def test_transformers_knows_the_special_tokens(auto) -> None:
    assert (auto.eos_token, auto.bos_token, auto.pad_token, auto.unk_token) == (
        "<|endoftext|>",
        "<|endoftext|>",
        "<|pad|>",
        None,
    )
    assert {"<|system|>", "<|user|>", "<|assistant|>"} <= set(auto.all_special_tokens)
    assert auto.decode(auto("a<|user|>b")["input_ids"], skip_special_tokens=True) == "ab"
    assert auto.is_fast and len(auto) == 800


def test_tokens_that_hide_text_come_after_the_others_and_leave_ids_alone_where_there_are_none(
    tmp_path: Path, write, docstrings
) -> None:
    from transformers import AutoTokenizer

    conf = CONF.model_copy(update={"mask_token": "[MASK]", "sentinels": 3, "extra_tokens": ("<|more|>",)})
    assert conf.special_tokens == (
        *CONF.special_tokens, "<|more|>", "[MASK]", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>",
    )  # fmt: skip
    train_tokenizer([write(tmp_path / "a.parquet", docstrings[:50])], tmp_path.__truediv__, conf, tmp_path)
    auto = AutoTokenizer.from_pretrained(tmp_path)
    assert auto.mask_token == "[MASK]" and auto.convert_tokens_to_ids("<extra_id_2>") == len(conf.special_tokens) - 1
    assert auto.decode(auto("a[MASK]<extra_id_1>b")["input_ids"], skip_special_tokens=True) == "ab"


def test_a_saved_copy_is_the_same_tokenizer(auto, tmp_path: Path, docstrings) -> None:
    from transformers import AutoTokenizer

    auto.save_pretrained(tmp_path)
    copy = AutoTokenizer.from_pretrained(tmp_path)
    assert copy(docstrings[:20])["input_ids"] == auto(docstrings[:20])["input_ids"]
    assert copy.chat_template == auto.chat_template
    assert (copy.eos_token_id, copy.pad_token_id) == (auto.eos_token_id, auto.pad_token_id)


def test_the_chat_template_writes_each_turn_with_its_role_and_an_end(auto) -> None:
    text = auto.apply_chat_template(TALK, tokenize=False)
    assert text == (
        "<|system|>Be brief.<|endoftext|><|user|> What is an array?\n<|endoftext|>"
        "<|assistant|>A table of numbers.<|endoftext|><|user|>Thanks<|endoftext|><|assistant|>Bye!<|endoftext|>"
    )
    assert auto.apply_chat_template(TALK[:2], tokenize=False, add_generation_prompt=True).endswith(
        "<|endoftext|><|assistant|>"
    )


def test_the_mask_of_the_assistant_covers_its_answers_and_their_ends_only(auto) -> None:
    made = auto.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    answered = [id_ for id_, ours in zip(made["input_ids"], made["assistant_masks"], strict=True) if ours]
    assert auto.decode(answered) == "A table of numbers.<|endoftext|>Bye!<|endoftext|>"


def test_without_a_chat_template_none_is_written(tmp_path: Path, write, docstrings) -> None:
    conf = TokenizerConf(vocab_size=300, chat_template=None)
    train_tokenizer([write(tmp_path / "a.parquet", docstrings[:20])], tmp_path.__truediv__, conf, tmp_path)
    assert not (tmp_path / "chat_template.jinja").exists()
    assert "chat_template" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_no_text_is_an_error(tmp_path: Path, write) -> None:
    with pytest.raises(DataError, match="no text to train"):
        train([write(tmp_path / "a.parquet", [])], CONF, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_token": "<|user|>"}, "repeat"),
        ({"vocab_size": 300, "extra_tokens": tuple(f"<{n}>" for n in range(50))}, "too small"),
        ({"roles": ("user",)}, "user and assistant"),
        ({"eos_token": "end"}, "a text may say 'end' itself"),
        ({"extra_tokens": ("<|>",)}, "a text may say '<|>' itself"),
        ({"extra_tokens": ("'s",)}, "a text may say"),
    ],
)
def test_impossible_options_are_refused(options, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TokenizerConf(**options)
