"""What every config model shares."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Conf(BaseModel):
    """Options that shape an output: frozen, nothing unknown, each field with a docstring of its unit and range.

    A field that holds a `RunConf` says how a step is run and stays out of the key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that were added later: at their default, which changes nothing, they are in no key."""
    formerly: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields that had another name, which stays in keys and is refused with the present one said."""

    def for_key(self) -> dict[str, Any]:
        """The options that enter an artifact's key, as plain JSON values."""
        return {
            self.formerly.get(name, name): _plain(value)
            for name, field in type(self).model_fields.items()
            if not isinstance(value := getattr(self, name), RunConf)
            and not (name in self.later and value == field.get_default(call_default_factory=True))
        }


class RunConf(BaseModel):
    """Options that say how a step is run (device, processes, log cadence) and never enter a key."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    formerly: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fields that had another name, which is refused with the present one said."""


def _plain(value: Any) -> Any:
    if isinstance(value, Conf):
        return value.for_key()
    if isinstance(value, dict):
        return {str(name): _plain(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
