"""Make a transformers folder a version in MLflow's registry: pyfunc code, signature, example, card and tags."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.artifact import hash_file
from tasks.core.errors import ArtifactError
from tasks.core.tracking.mlflow_sync import experiment_of, living
from tasks.models import kind as kinds
from tasks.register.context import run_context
from tasks.register.integrity import CARD, FILES, LOAD_FROM
from tasks.register.mlflow_writer import client_for

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

CODE = Path(__file__).with_name("pyfunc.py")
HERE = "# here stands, in a registered model, what its kind answers with\n"
REQUIREMENTS = ("mlflow", "torch", "transformers", "tokenizers", "safetensors", "pandas", "numpy")
EXAMPLE = ["The function returns"]
PARAMS = {int: "long", float: "double", str: "string", bool: "boolean"}
"""Types of parameters as MLflow names them."""


@dataclass(frozen=True)
class Package:
    """What becomes a version."""

    name: str
    kind: str
    weights: Path
    sums: Mapping[str, str]
    """The hash of each file in `weights`."""
    card: str
    description: str
    tags: Mapping[str, str]
    mlflow_run: str | None = None


def register(uri: str, package: Package) -> int:
    """Upload the package and register it in one last call, tags and card included; the version's number."""
    client = client_for(uri)
    experiment, run = experiment_of(client, run_context().home), package.mlflow_run
    if run is not None and not living(client, run):  # a model is registered all the same
        run = None
    logged = client.create_logged_model(experiment, name=package.name, source_run_id=run, model_type=package.kind)
    with tempfile.TemporaryDirectory(prefix="fromzero-register-") as temporary:
        folder = Path(temporary, "package")
        _save(package, folder, logged.model_id, Path(temporary, "model"))
        files = _files(folder)
        _refuse_others(package, files)
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    if run is not None:
        from mlflow.entities import LoggedModelOutput

        client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    if not client.search_registered_models(f"name = '{package.name}'"):
        client.create_registered_model(package.name)
    made = client.create_model_version(
        package.name,
        f"models:/{logged.model_id}",
        run_id=run,
        tags={**package.tags, FILES: json.dumps(files, sort_keys=True), "fromzero.kind": package.kind},
        description=package.description,
        model_id=logged.model_id,
    )
    return int(made.version)


def _save(package: Package, folder: Path, model_id: str, staged: Path) -> None:
    import mlflow
    from mlflow.models import Model

    shutil.copytree(package.weights, staged, copy_function=_link)
    (staged / CARD).unlink(missing_ok=True)
    (staged / CARD).write_text(package.card, encoding="utf-8")
    sums = {**package.sums, CARD: hash_file(staged / CARD)}
    code = staged.with_name(CODE.name)
    code.write_text(standing_alone(package.kind), encoding="utf-8")
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(model_id=model_id),
        python_model=str(code),
        artifacts={"model": str(staged)},
        model_config={"kind": package.kind, "files": sums, "params": dict(kinds.of(package.kind).params)},
        signature=_signature(package.kind),
        input_example=EXAMPLE,
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
    )
    shutil.copyfile(staged / CARD, folder / CARD)


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and hash of each file in a folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: (path.stat().st_size, hash_file(path)) for name, path in paths.items()}


def _refuse_others(package: Package, files: Mapping[str, tuple[int, str]]) -> None:
    """Raise `ArtifactError` unless the weights that are about to be registered are those of the artifact."""
    for name, digest in package.sums.items():
        if name != CARD and files.get(f"{LOAD_FROM}/{name}", (0, ""))[1] != digest:
            raise ArtifactError(
                f"{package.weights / name} has other bytes than when it was made: {package.name} is not registered; "
                "run again, it is made anew"
            )


def standing_alone(kind: str) -> str:
    """The code of a registered model in one file: a model has to load where this project is not installed, or another
    version of it, or where somebody's own module has the name of one of its own."""
    code = CODE.read_text(encoding="utf-8")
    assert code.count(HERE) == 1
    code = _inlined(code.replace(HERE, f"from {kinds.of(kind).answering} import answer, load\n"), set())
    assert "tasks." not in code
    return code


def _inlined(code: str, done: set[str]) -> str:
    """Code, with that of each module of ours that it imports in the place of the first import."""
    lines = []
    for line in code.splitlines(keepends=True):
        found = re.match(r"from (tasks\.[\w.]+) import ", line)
        if found is None:
            lines.append(line)
        elif found[1] not in done:
            done.add(found[1])
            source = inspect.getsource(import_module(found[1]))
            lines.append(_inlined(re.sub(r"(?m)^from __future__ .*\n", "", source), done))
    return "".join(lines)


def _link(source: str, target: str) -> Any:
    """A hard link where the file system allows one: weights are large."""
    try:
        os.link(source, target)
    except OSError:
        return shutil.copyfile(source, target)


def _signature(kind: str) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Map, Object, Property

    asked = kinds.of(kind)
    span = {"start": DataType.long, "end": DataType.long, "label": DataType.string, "text": DataType.string}
    types: dict[str, Any] = {
        "string": "string",
        "number": DataType.double,
        "probabilities": Map(DataType.double),
        "spans": Array(Object([Property(name, what) for name, what in span.items()])),
    }
    outputs: list[Any] = [ColSpec(types[what], name) for name, what in asked.columns.items()] or [ColSpec("string")]
    params: Any = [ParamSpec(name, PARAMS[type(value)], value) for name, value in asked.params.items()]
    return ModelSignature(Schema([ColSpec("string")]), Schema(outputs), *([ParamSchema(params)] if params else []))
