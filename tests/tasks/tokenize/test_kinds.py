"""Every kind of tokenizer: the same texts, the same bytes; what transformers loads is the same tokenizer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from conf.schema.tokenize import TokenizerConf
from tasks.core.errors import DataError
from tasks.formats.tokens import TokenFile
from tasks.tokenize.shards import load, write_part
from tasks.tokenize.train import train, train_tokenizer

KINDS = ("bpe", "unigram", "wordpiece")
EXACT = ("bpe", "unigram")
ODD = [
    "",
    "<|endoftext|>",
    "a <|user|>b[UNK]",
    "caf\u00e9 \u4e2d\u6587 \U0001f600",
    "\x00 ",
    " lead",
    "trail \n\n",
    "say",
]


def conf_of(kind: str) -> TokenizerConf:
    return TokenizerConf(kind=kind, vocab_size=700)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, write, docstrings) -> dict[str, Path]:
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        docs = write(made[kind] / "docs/docs.parquet", docstrings[:200])
        stats = train_tokenizer([docs], made[kind].__truediv__, conf_of(kind), made[kind])
        assert stats["kind"] == kind and stats["vocab_size"] <= 700
        assert (stats["sources"]["docs"]["exact"] == 1) == (kind in EXACT)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_bytes_in_another_process_with_one_thread(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from conf.schema.tokenize import TokenizerConf;"
        "from tasks.tokenize.train import train_tokenizer;"
        "conf = TokenizerConf(kind=sys.argv[1], vocab_size=700);"
        "train_tokenizer([Path(sys.argv[2])], Path(sys.argv[3]).__truediv__, conf, Path(sys.argv[3]))"
    )
    docs = folders[kind] / "docs/docs.parquet"
    env = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, kind, str(docs), str(tmp_path)], env=env, check=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (folders[kind] / name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_the_same_tokenizer(kind: str, folders: dict[str, Path], docstrings) -> None:
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(folders[kind])
    fast = Tokenizer.from_file(str(folders[kind] / "tokenizer.json"))
    texts = [*docstrings[200:260], *ODD]
    assert auto(texts)["input_ids"] == [found.ids for found in fast.encode_batch(texts)]
    assert auto.unk_token == ("[UNK]" if kind == "wordpiece" else None)
    assert (auto.eos_token_id, auto.pad_token_id, len(auto)) == (0, 1, fast.get_vocab_size())
    talk = [{"role": "user", "content": "the array"}, {"role": "assistant", "content": "the shape"}]
    ids = auto.apply_chat_template(talk, tokenize=True, return_dict=True)["input_ids"]
    special = {token: fast.token_to_id(token) for token in conf_of(kind).special_tokens}
    assert [id_ for id_ in ids if id_ in special.values()] == [
        special[name] for name in ("<|user|>", "<|endoftext|>", "<|assistant|>", "<|endoftext|>")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_a_text_never_gives_one(kind: str, folders: dict[str, Path]) -> None:
    tokenizer, _ = load(folders[kind], conf_of(kind))
    special = conf_of(kind).special_tokens
    assert [tokenizer.token_to_id(token) for token in special] == list(range(len(special)))
    for token in special:
        for text in (token, f"a{token}b", token * 2):
            assert min(tokenizer.encode(text).ids) >= len(special), text


@given(texts=st.lists(st.text(max_size=30), max_size=4), kind=st.sampled_from(EXACT))
def test_any_text_reads_back_exactly(tmp_path_factory, write, folders, texts: list[str], kind: str) -> None:
    folder = tmp_path_factory.mktemp("shard")
    tokenizer, eos = load(folders[kind], conf_of(kind))
    write_part(write(folder / "docs.parquet", texts), folder, tokenizer, eos)
    shard = TokenFile.open(folder)
    assert [tokenizer.decode(shard[n].tolist(), skip_special_tokens=False) for n in range(len(shard))] == texts


def test_wordpiece_reads_back_the_words_of_a_text_in_lower_case(folders: dict[str, Path]) -> None:
    tokenizer, _ = load(folders["wordpiece"], conf_of("wordpiece"))
    assert tokenizer.decode(tokenizer.encode("The  Array\nof shape").ids) == "the array of shape"


@pytest.mark.parametrize("kind", KINDS)
def test_texts_without_a_character_are_an_error(kind: str, tmp_path: Path, write) -> None:
    with pytest.raises(DataError, match="no text to train"):
        train([write(tmp_path / "a.parquet", ["", ""])], conf_of(kind), tmp_path)
