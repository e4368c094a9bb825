"""Values held against the models of conf.schema, and what is wrong with them in words: option, value, fix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from conf.paths import GROUPS, has_option
from conf.schema.base import classes_in
from conf.schema.model import ModelConf, NativeConf
from tasks.core.errors import ConfigError, nearest

M = TypeVar("M", bound=BaseModel)
NETWORKS: dict[str, type[BaseModel]] = {"transformers": ModelConf, "native": NativeConf}
"""What each kind of `model` may be told."""
GIVEN = re.compile(r"(?<![\w.])[a-z]\w*(?:\.\w+)*(?==)")
"""An option that a message says to set."""


def validated(model: type[M], values: Any, where: str, overrides: tuple[str, ...] = ()) -> M:
    """Values as a model; raises `ConfigError`, which blames the overrides that gave what is wrong, else `where`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines: dict[str, list[str]] = {}
        given = []
        # A value that follows from a wrong one is no error of its own.
        for problem in (p for p in error.errors() if p["type"] != "default_factory_not_called"):
            place = _place(problem, model)
            path = place.path
            said = _said(path or "all", problem, place.kinds)
            said = _in_full(said, path, model) if problem["type"] == "value_error" else said
            lines.setdefault(path if place.is_member else said, []).append(said)
            given.append(_giving(f"{path}.kind" if problem["type"] == "union_tag_invalid" else path, overrides))
        wrong = " ".join(dict.fromkeys(override for override in given if override))
        where = wrong if all(given) else f"{where} with {wrong}" if wrong else where
        raise ConfigError(f"{where} is not valid:\n" + "\n".join(f"  {_or(said)}" for said in lines.values())) from None


def _giving(path: str, overrides: tuple[str, ...]) -> str | None:
    """The last override that gave a value to the option at `path`, or to what holds it; None if it is the recipe's."""
    for override in reversed(overrides):
        name, equals, _ = override.lstrip("+").partition("=")
        if equals and name not in GROUPS and f"{path}.".startswith(f"{name}."):
            return f"{name}=…" if name.endswith("_env") else override
    return None


@dataclass(frozen=True)
class _Place:
    """What a finding of pydantic's is about."""

    path: str
    """Of the option."""
    is_member: bool
    """Another member of a union may say as much of it."""
    kinds: tuple[str, ...]
    """Of what it may hold, where there are several."""


def _place(problem: Any, model: type[BaseModel]) -> _Place:
    """The option that a finding is about. pydantic puts into its place also what it tried: the kind of what is there,
    or the type of a union's member; an option, a source or a model may be called as one."""
    holders: list[Any] = [model]
    path, is_member = list[str](), False
    for part in problem["loc"]:
        kinded = {kind: m for m in holders for kind in _kinds(m)}
        fields = [m.model_fields[part].annotation for m in _models(holders) if part in m.model_fields]
        if dict in holders:
            holders.remove(dict)
        elif len(set(kinded.values())) > 1 and part in kinded:
            holders = [kinded[part]]
            continue
        elif fields:
            holders = [found for field in fields for found in classes_in(field)]
        elif len(holders) > 1 and problem["type"] != "extra_forbidden":
            is_member = True
            continue
        path.append(str(part))
    return _Place(".".join(path), is_member, tuple(kind for m in holders for kind in _kinds(m)))


def _models(found: list[Any]) -> list[type[BaseModel]]:
    return [one for one in found if isinstance(one, type) and issubclass(one, BaseModel)]


def _kinds(found: Any) -> tuple[str, ...]:
    fields = [m.model_fields["kind"] for m in _models([found]) if "kind" in m.model_fields]
    return get_args(fields[0].annotation) if fields else ()


def _or(said: list[str]) -> str:
    """What the members of a union say of one value, as one sentence."""
    first, *others = said
    begin, shown, given = first.partition(" (given: ")
    more = [one.partition(" (given: ")[0].partition(": ")[2].removeprefix("Input should be ") for one in others]
    return ", or ".join([begin, *dict.fromkeys(more)]) + shown + given


def _in_full(said: str, path: str, model: type[BaseModel]) -> str:
    """A message about the options at `path` with each NAME= of its advice as the command takes it, path and all."""
    told, shown, given = said.partition(" (given: ")
    begin, colon, advice = told.rpartition(": ")
    return begin + colon + GIVEN.sub(lambda found: _below(path, found[0], model), advice) + shown + given


def _below(path: str, name: str, model: type[BaseModel]) -> str:
    full = f"{path}.{name}"
    return full if path and has_option(full, model) else name


def _said(path: str, problem: Any, kinds: tuple[str, ...]) -> str:
    """One of pydantic's findings, in words for people."""
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    if given == "???":
        return f"{path} has no default: give {path}=…"
    if kind == "union_tag_not_found":
        return f"{path} has no kind: give {path}.kind={'|'.join(kinds)}"
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"{path}.kind: there is no {context['tag']!r}{nearest(context['tag'], tags)}"
    if kind == "extra_forbidden" and path.startswith("model."):
        knowing = [k for k, network in NETWORKS.items() if path.split(".")[1] in network.model_fields]
        return f"{path} is an option of another kind of model: give model.kind={'|'.join(knowing)}, or leave it out"
    if kind in ("tuple_type", "list_type"):
        return f"{path} is a list: give {_as_list(path, given)}"
    if kind == "missing":
        return f"{path} is missing: give {path}=…"
    if kind == "string_pattern_mismatch" and path.endswith("_env"):  # perhaps the secret itself
        return (
            f"{path}: what is given is no name of an environment variable: export the secret under one, and name that"
        )
    if kind == "string_pattern_mismatch":
        return (
            f"{path}: {given!r} holds characters that it may not, or is too long (it must match {context['pattern']})"
        )
    shown = f" (given: {given!r})" if not isinstance(given, dict) and not path.endswith("_env") else ""
    return f"{path}: {problem['msg'].removeprefix('Value error, ')}{shown}"


def _as_list(path: str, given: Any) -> str:
    """The override that makes a list of one value, in the quotes that a shell and Hydra need."""
    if not isinstance(given, (str, int, float)):
        return f"{path}=[…]"
    plain = re.fullmatch(r"[\w./-]+", str(given))
    return f"{path}=[{given}]" if plain else f"'{path}=[\"{given}\"]'"
