"""What every config model shares."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Options(BaseModel):
    """Frozen, nothing unknown, each field with a docstring of its unit and range."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    formerly: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields that had another name, which is refused with the present one said."""

    @model_validator(mode="before")
    @classmethod
    def _by_present_names(cls, given: Any) -> Any:
        for new, old in cls.formerly.items() if isinstance(given, dict) else ():
            if old in given:
                raise ValueError(f"{old!r} is now {new!r}: write that")
        return given


class Conf(Options):
    """Options that shape an output.

    A field that holds a `RunConf` says how a step is run and stays out of the key. A field that had another name
    (`formerly`) has it in keys for ever.
    """

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that were added later: at their default, which changes nothing, they are in no key."""

    def for_key(self) -> dict[str, Any]:
        """The options that enter an artifact's key, as plain JSON values."""
        return {
            self.formerly.get(name, name): _plain(value)
            for name, field in type(self).model_fields.items()
            if not isinstance(value := getattr(self, name), RunConf)
            and not (name in self.later and value == field.get_default(call_default_factory=True))
        }


class RunConf(Options):
    """Options that say how a step is run (device, processes, log cadence) and never enter a key."""


def present_name(path: str, root: type[BaseModel]) -> str:
    """An option (a.b.NAME.c) by the names that its fields have today, whenever it was written."""
    names, models = list[str](), list[Any]([root])
    for part in path.split("."):
        if dict in models:  # below a mapping any name goes; the models are those of its values
            names.append(part)
            models.remove(dict)
            continue
        classes = [m for m in models if isinstance(m, type) and issubclass(m, BaseModel)]
        now = {old: new for m in classes for new, old in getattr(m, "formerly", {}).items()}
        names.append(now.get(part, part))
        found = [m.model_fields[names[-1]].annotation for m in classes if names[-1] in m.model_fields]
        models = [one for annotation in found for one in classes_in(annotation)]
    return ".".join(names)


def classes_in(annotation: Any) -> list[Any]:
    """The classes that an annotation allows; `dict` stands for a mapping, whose values' classes are beside it."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return [dict, *classes_in(parts[1])]
    if origin is Annotated:
        return classes_in(parts[0])
    if origin in (Union, UnionType):
        return [one for part in parts if part is not type(None) for one in classes_in(part)]
    return [annotation]


def _plain(value: Any) -> Any:
    if isinstance(value, Conf):
        return value.for_key()
    if isinstance(value, dict):
        return {str(name): _plain(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
