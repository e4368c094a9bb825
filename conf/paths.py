"""Paths of options (a.b.NAME.c), checked against the models before anything is composed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from conf.schema.base import classes_in
from conf.schema.recipe import Recipe
from tasks.core.errors import ConfigError, nearest

GROUPS = ("data", "tokenizer", "model", "pretrain", "models", "engine", "store")
"""The options that are files of their folder in conf, chosen by name."""
RENAMED = {
    "finetune.chat.lora": "models.chat.method",
    "finetune.chat": "models.chat.train",
    "finetune.classify": "models.classifier.train",
    "evaluate.gates.lm": "models.base.gate",
    "evaluate.gates.chat": "models.chat.gate",
    "evaluate.gates.classifier": "models.classifier.gate",
    "evaluate.lm": "models.base.evaluate",
    "evaluate.chat": "models.chat.evaluate",
    "evaluate.classifier": "models.classifier.evaluate",
    "release.base": "models.base.register",
    "release.chat": "models.chat.register",
    "release.classifier": "models.classifier.register",
    "release.approval_hours": "approval.hours",
    "release.approval": "approval.by",
    "finetune": "models",
    "evaluate": "models",
    "release": "models",
}
"""Options, or groups of them, that had another name, and the one that they have now; the longest first."""


def refuse_renamed(path: str) -> None:
    """Raise `ConfigError` for an option's former path, with the present one."""
    for old, new in RENAMED.items():
        if f"{path}.".startswith(f"{old}."):
            raise ConfigError(f"{path} is now {new}{path[len(old) :]}: write that")


def has_option(path: str, root: type[BaseModel] = Recipe) -> bool:
    """Whether an override of this path (a.b.NAME.c) sets something."""
    try:
        check_path(path.split("."), path, root)
    except ConfigError:
        return False
    return True


def check_path(names: list[str], where: str, root: type[BaseModel] = Recipe) -> None:
    """Raise `ConfigError` with the nearest names if no model has the option."""
    models: list[Any] = [root]
    if root is Recipe:
        refuse_renamed(".".join(names))
    below_a_name = False
    for depth, name in enumerate(names):
        if dict in models:  # below a mapping any name goes; what follows it belongs to the values' models
            models.remove(dict)
            below_a_name = True
            continue
        classes = _models(models)
        if not classes:
            if not any(option in (Any, object) for option in models):
                raise ConfigError(f"{where}: {'.'.join(names[:depth])} is a single value, it has no option {name!r}")
            return
        found = [m.model_fields[name].annotation for m in classes if name in m.model_fields]
        if not found and below_a_name:
            raise ConfigError(f"{where}: no option {name!r} here{_meant(name, classes)}")
        if not found:
            parent = ".".join(names[:depth]) or "a recipe"
            raise ConfigError(f"{where}: {parent} has no option {name!r}{_meant(name, classes)}")
        models = [option for annotation in found for option in classes_in(annotation)]
        below_a_name = False


def _models(found: list[Any]) -> list[type[BaseModel]]:
    return [one for one in found if isinstance(one, type) and issubclass(one, BaseModel)]


def _meant(name: str, classes: list[type[BaseModel]]) -> str:
    """What a name that is no option of these is now, or the nearest names."""
    now = {old: new for m in classes for new, old in getattr(m, "formerly", {}).items()}
    known = sorted({field for m in classes for field in m.model_fields})
    return f": it is now {now[name]!r}" if name in now else nearest(name, known)
