"""The code inside a registered model: stands alone, so that a model loads wherever MLflow and transformers are.

Models from code: this file and its kind's own way of answering, with what they import from here in the imports' place,
are copied into the model as one, and MLflow runs it. Input is a list of texts, or a DataFrame with a column `text`
or `prompt`. A model that writes gives back its texts, any other a DataFrame with the columns of its kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from tasks.formats.model_folder import read_task

load: Callable[[Path], Any] = NotImplemented
answer: Callable[..., list[Any]] = NotImplemented
# here stands, in a registered model, what its kind answers with


def refuse_changed(folder: Path, sums: dict[str, str]) -> None:
    """Raise `ValueError` unless a folder holds exactly the files (by path, with their sha256) that were registered."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if wrong := sums.keys() ^ {name for name in there if "__pycache__/" not in name}:
        raise ValueError(f"{folder / min(wrong)} was added or is missing: register the model anew")
    for name, digest in sums.items():
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ValueError(f"{folder / name} has other bytes than when it was registered: register it anew")


class Model(PythonModel):
    """What `mlflow.pyfunc.load_model` gives back."""

    _skip_type_hint_validation = True  # the signature says what predict takes; MLflow would warn that hints do not

    def load_context(self, context: Any) -> None:
        """Load the folder that was registered, and its task.json if it has one."""
        folder = Path(context.artifacts["model"])
        refuse_changed(folder, context.model_config["files"])
        self.params = dict(context.model_config["params"])
        self.model, self.encoder = load(folder)
        self.task = read_task(folder)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow reads hints as schema
        """Texts, or a DataFrame with the columns of the kind."""
        given = {name: value for name, value in (params or {}).items() if name in self.params}
        found = answer(self.model, self.encoder, _texts(model_input), self.task, **{**self.params, **given})
        if all(isinstance(one, str) for one in found):
            return found
        import pandas as pd

        return pd.DataFrame(found)


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    columns = getattr(given, "columns", None)
    if columns is None:
        return [str(text) for text in given]
    name = next((column for column in ("text", "prompt", 0) if column in columns), None)
    if name is None:
        raise ValueError(f"the input needs a column `text` or `prompt`; it has {', '.join(map(str, columns))}")
    return [str(text) for text in given[name]]


set_model(Model())
