import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ArtifactError, DataError, FromzeroError
from tasks.formats.tokens import TokenFile, TokenWriter, holds_tokens, vocab_size_of

EOS = 0


def written(folder: Path, documents: list[list[int]], vocab_size: int = 100) -> TokenWriter:
    with TokenWriter(folder, vocab_size, EOS) as writer:
        for ids in documents:
            writer.add(np.array([*ids, EOS]), np.array([len(ids) + 1]), 2 * len(ids))
    return writer


@given(documents=st.lists(st.lists(st.integers(1, 99), max_size=9), max_size=6), wide=st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, documents: list[list[int]], wide: bool) -> None:
    folder = tmp_path_factory.mktemp("tokens") / "made by the writer"
    writer = written(folder, documents, 70_000 if wide else 100)
    file = TokenFile.open(folder)
    assert [file[n].tolist() for n in range(len(file))] == documents
    assert file.tokens.dtype == np.dtype("<u4" if wide else "<u2")
    assert file.meta == writer.meta == json.loads((folder / "meta.json").read_text())
    assert file.meta["bytes"] == 2 * sum(map(len, documents))
    assert (file.vocab_size, file.eos_id) == (vocab_size_of(folder), EOS)
    assert holds_tokens(folder) is bool(documents)


def test_a_writer_that_is_interrupted_leaves_nothing_that_can_be_opened(tmp_path: Path) -> None:
    with pytest.raises(KeyError), TokenWriter(tmp_path, 100, EOS) as writer:
        writer.add(np.array([1, EOS]), np.array([2]), 1)
        raise KeyError
    with pytest.raises(DataError, match="is not a shard of tokens"):
        TokenFile.open(tmp_path)


@pytest.mark.parametrize("kind", [DataError, ArtifactError])
def test_files_that_do_not_fit_are_refused_as_whoever_reads_wants_and_can_be_looked_at(
    tmp_path: Path, kind: type[FromzeroError]
) -> None:
    written(tmp_path, [[1, 2], [3]])
    (tmp_path / "tokens.bin").write_bytes(b"123")
    with pytest.raises(kind, match=r"tokens\.bin does not fit its index: tokens\.bin has 3 bytes"):
        TokenFile.open(tmp_path, kind)
    file = TokenFile.unchecked(tmp_path)
    assert (file.size, len(file.tokens), len(file)) == (3, 0, 2)


def test_a_folder_without_tokens_holds_none_and_names_no_vocabulary(tmp_path: Path) -> None:
    assert not holds_tokens(tmp_path)
    with pytest.raises(DataError, match=r"meta\.json: .*--refresh tokenize_shard"):
        vocab_size_of(tmp_path)
