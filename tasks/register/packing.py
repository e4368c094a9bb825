"""Make a transformers folder a version in MLflow's registry: pyfunc code, signature, example, card and tags."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.delivery import experiment_of, living
from tasks.register.context import run_context
from tasks.register.lookup import sizes_in
from tasks.register.writing import client_for
from tasks.text import encode

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

CODE = Path(__file__).with_name("pyfunc.py")
ENCODE, IMPORTED = Path(encode.__file__), "from tasks.text.encode import Encoder\n"
"""The one file of this project that the code of a registered model imports, and the line that does."""
REQUIREMENTS = ("mlflow", "torch", "transformers", "tokenizers", "safetensors", "pandas", "numpy")
EXAMPLE = ["The function returns"]
LOAD_FROM = "artifacts/model"
"""Where, inside a registered model, the folder for transformers' `from_pretrained` is."""


@dataclass(frozen=True)
class Package:
    """What becomes a version."""

    name: str
    kind: str
    weights: Path
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
        client.log_model_artifacts(logged.model_id, str(folder))
        sizes = sizes_in(str(folder))
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
        tags={**package.tags, "fromzero.files": json.dumps(sizes, sort_keys=True), "fromzero.kind": package.kind},
        description=package.description,
        model_id=logged.model_id,
    )
    return int(made.version)


def _save(package: Package, folder: Path, model_id: str, staged: Path) -> None:
    import mlflow
    from mlflow.models import Model

    shutil.copytree(package.weights, staged, copy_function=_link)
    (staged / "README.md").unlink(missing_ok=True)
    (staged / "README.md").write_text(package.card, encoding="utf-8")
    code = staged.with_name(CODE.name)
    code.write_text(standing_alone(), encoding="utf-8")
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(model_id=model_id),
        python_model=str(code),
        artifacts={"model": str(staged)},
        model_config={"kind": package.kind},
        signature=_signature(package.kind),
        input_example=EXAMPLE,
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
    )
    shutil.copyfile(staged / "README.md", folder / "README.md")


def standing_alone() -> str:
    """The code of a registered model in one file: a model has to load where this project is not installed, or another
    version of it, or where somebody's own module has the name of one of its own."""
    code, encoding = (path.read_text(encoding="utf-8") for path in (CODE, ENCODE))
    assert code.count(IMPORTED) == 1 and "tasks." not in code.replace(IMPORTED, "") + encoding
    return code.replace(IMPORTED, encoding.replace("from __future__ import annotations\n", ""))


def _link(source: str, target: str) -> Any:
    """A hard link where the file system allows one: weights are large."""
    try:
        os.link(source, target)
    except OSError:
        return shutil.copyfile(source, target)


def _signature(kind: str) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Map

    text = Schema([ColSpec("string")])
    if kind == "classifier":
        probabilities = ColSpec(Map(DataType.double), "probabilities")
        return ModelSignature(text, Schema([ColSpec("string", "label"), probabilities]))
    params = [ParamSpec("max_new_tokens", "long", 64), ParamSpec("temperature", "double", 0.8)]
    return ModelSignature(text, Schema([ColSpec("string")]), ParamSchema([*params, ParamSpec("seed", "long", 0)]))
