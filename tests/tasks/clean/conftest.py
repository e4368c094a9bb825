"""Documents, real and made, and a way to run a step's function twice."""

from __future__ import annotations

import ast
import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import polars as pl
import pytest

from tasks.core.artifact import Artifact, FileEntry, digest_of, hash_file
from tasks.core.step import Step
from tasks.core.workdir import Workdir
from tasks.formats.documents import DOCUMENTS

Documents = Callable[..., pl.DataFrame]
Publish = Callable[..., Artifact]


def make_documents(
    texts: Sequence[str], source: str = "docs", messages: Sequence[Any] | None = None, label: str | None = None
) -> pl.DataFrame:
    rows = [
        {
            "id": hashlib.sha256(f"{source}\0{text}".encode()).hexdigest()[:32],
            "text": text,
            "source": source,
            "uri": f"{source}/{n}",
            "licence": "MIT",
            "label": label,
            "messages": messages[n] if messages else None,
        }
        for n, text in enumerate(texts)
    ]
    return pl.DataFrame(rows, schema=DOCUMENTS)


@pytest.fixture(scope="session")
def documents() -> Documents:
    return make_documents


@pytest.fixture(scope="session")
def docstrings() -> list[str]:
    """Some 600 different docstrings of numpy, 80 characters or longer."""
    found: dict[str, None] = {}
    for path in sorted(Path(numpy.__file__).parent.glob("*/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                if len(text) >= 80:
                    found[text] = None
    return list(found)[:600]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Make an artifact of frames: publish({"train/docs.parquet": frame}, shard="s-000")."""
    numbers = itertools.count()

    def make(frames: dict[str, pl.DataFrame], shard: str | None = None) -> Artifact:
        work = Workdir(tmp_path / f"input-{next(numbers)}")
        work.make()
        for name, frame in frames.items():
            frame.write_parquet(work / name)
        return as_artifact(work, shard)

    return make


def as_artifact(work: Workdir, shard: str | None, stats: dict[str, Any] | None = None) -> Artifact:
    files = tuple(
        FileEntry(str(path.relative_to(work.root)), path.stat().st_size, hash_file(path))
        for path in sorted(work.root.rglob("*"))
        if path.is_file()
    )
    return Artifact("made", "key", digest_of(files), stats or {}, shard, None, work.root, files)


@pytest.fixture
def run_twice(tmp_path: Path) -> Callable[..., Artifact]:
    """Run a step's function in two directories, check that content is byte for byte the same, return the first."""
    numbers = itertools.count()

    def run(step: Step, *inputs: Any, conf: Any, shard: str | None = None) -> Artifact:
        made = []
        for folder in (f"once-{next(numbers)}", f"another folder/again-{next(numbers)}"):
            work = Workdir(tmp_path / folder)
            work.make()
            stats = step.function(*inputs, conf=conf, work=work)
            made.append(as_artifact(work, shard, stats))
        first, second = ([file for file in artifact.files if file.path.startswith("content/")] for artifact in made)
        assert first, "the step wrote no content"
        assert first == second
        assert made[0].stats == made[1].stats
        return made[0]

    return run


@pytest.fixture(scope="session")
def names_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy model that finds names by rules, with parts beside that names do without."""
    import spacy
    from spacy.training import Example

    folder = tmp_path_factory.mktemp("model") / "names"
    nlp = spacy.blank("en")
    for name in ("tok2vec", "senter"):
        nlp.add_pipe(name)
    example = Example.from_dict(nlp.make_doc("Ada met Bob."), {"sent_starts": [1, 0, 0, 0]})
    nlp.initialize(lambda: [example])
    ada = [{"ORTH": "Ada"}, {"IS_ALPHA": False, "OP": "*"}, {"ORTH": "EMAIL", "OP": "?"}]
    ada += [{"ORTH": ">", "OP": "?"}, {"ORTH": "Lovelace"}]
    people = [{"label": "PERSON", "pattern": pattern} for pattern in (ada, "Bob", "EMAIL", "> Lovelace")]
    places = [{"label": "GPE", "pattern": "London"}, {"label": "LOC", "pattern": "Thames"}]
    others = [{"label": "DATE", "pattern": "12 May"}, {"label": "ORG", "pattern": "Acme"}]
    nlp.add_pipe("entity_ruler").add_patterns([*people, *places, *others])
    nlp.to_disk(folder)
    return folder
