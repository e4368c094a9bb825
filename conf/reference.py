"""`python -m conf.reference`: docs/options.md, every option of a recipe, from the models and their docstrings."""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from conf.schema.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs/options.md"
HEAD = """# Options

```bash
fromzero plan demo tokenizer.vocab_size=8192 data.dedup.threshold=0.9   # KEY=VALUE, any number of them
fromzero plan demo models=base                                          # a group of options, by its name
```

Written by `make options` from the models in `conf/schema/`: do not change it by hand. A recipe file says the same as
YAML ([data.md](data.md#a-recipe-of-your-own)). NAME is a name of your own, `[]` an entry of a list. *required*: the
recipe has to give a value. *follows*: from other options, unless given. Options below `run` and `engine` say how a step
is carried out, and change no key.
"""
TYPES = {int: "int", float: "float", bool: "`true`, `false`", str: "text", NoneType: "`null`", Any: "any"}
BOUNDS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "multiple_of": "a multiple of {}",
          "min_length": "at least {} long", "max_length": "at most {} long", "pattern": "matches `{}`"}  # fmt: skip
Row = tuple[str, str, str, str]
"""An option: its path as the command line takes it, then type, default and text as Markdown."""


def options(path: str, annotation: Any, given: Any, seen: dict[tuple[Any, ...], str], of: str = "") -> Iterator[Row]:
    """The options below a path, what several kinds of a union share once; `given`: the default of all of them.

    Larger models that were listed before, under the path that `seen` has, are not listed again. `of` says of which
    kinds they are.
    """
    models = models_in(annotation)
    if (first := seen.setdefault(tuple(models), path)) != path and sum(len(model.model_fields) for model in models) > 6:
        yield f"{path}.…", "", "", f"The same options as `{first}.…`."
        return
    having: dict[tuple[str, str], list[Any]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            own = "" if name == "kind" and len(models) > 1 else repr(field)
            having.setdefault((name, own), []).append(model)
    for (name, own), some in having.items():
        field, full = some[0].model_fields[name], f"{path}.{name}".lstrip(".")
        value = getattr(given, name, PydanticUndefined) if isinstance(given, BaseModel) else field.default
        inner, parts = models_in(field.annotation), (field.annotation, *get_args(field.annotation))
        kinds = [get_args(model.model_fields["kind"].annotation)[0] for model in some if len(models) > 1]
        only = f"Of {', '.join(kinds)}: " if len(some) < len(models) else of
        if not own:
            yield (
                full,
                type_of(Literal[tuple(kinds)]),
                default_of(field, value),
                "Some options are for some kinds only.",
            )
        elif not inner or {NoneType, dict, tuple} & {get_origin(part) or part for part in parts}:
            yield (
                full,
                type_of(field.annotation, *field.metadata),
                default_of(field, value),
                f"{only}{field.description}",
            )
        if inner:
            below = {dict: ".NAME", tuple: "[]"}.get(get_origin(parts[0]) or parts[0], "")
            yield from options(full + below, field.annotation, value, seen, only)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation allows, also as values of a map or entries of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = get_args(annotation) if get_origin(annotation) is not Literal else ()
    return list(dict.fromkeys(model for part in inner for model in models_in(part)))


def type_of(annotation: Any, *bounds: Any) -> str:
    """A type with its bounds, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_of(inner[0], *(bound for one in inner[1:] for bound in getattr(one, "metadata", [one])), *bounds)
    if origin is Literal:
        said = ", ".join(f"`{choice}`" for choice in inner)
    elif origin in (tuple, dict):
        said = f"list of {type_of(inner[0])}" if origin is tuple else f"map of {type_of(inner[1])}"
    else:
        said = " or ".join(dict.fromkeys(map(type_of, inner))) or TYPES.get(annotation, "options")
    limits = [(form, getattr(bound, name, None)) for bound in bounds for name, form in BOUNDS.items()]
    return ", ".join([said, *(form.format(limit) for form, limit in limits if limit is not None)])


def default_of(field: Any, value: Any) -> str:
    """A default as YAML takes it."""
    if value is PydanticUndefined and field.default_factory_takes_validated_data:
        return "*follows*"
    value = field.get_default(call_default_factory=True) if value is PydanticUndefined else value
    return (
        "*required*" if value is PydanticUndefined else f"`{json.dumps(to_jsonable_python(value), ensure_ascii=False)}`"
    )


def line(*row: str) -> str:
    """A row of a table; in its text nothing outside of backticks is taken for Markdown."""
    pieces = re.split(r"(`[^`]*`)", " ".join(row[3].split()))
    text = "".join(piece if piece.startswith("`") else re.sub(r"([<*\\])", r"\\\1", piece) for piece in pieces)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{row[0]}`", *row[1:3], text)) + " |\n"


def page() -> str:
    """The whole page: a section for each part of a recipe, in it a table for each part of that."""
    said, rows = HEAD, list(options("", Recipe, None, {}))
    for section, field in Recipe.model_fields.items():
        groups = sorted(path.stem for path in (PAGE.parents[1] / "conf" / section).glob("*.yaml"))
        said += f"\n## {section}\n\n{field.description}\n" + ("\nGroups: " if groups else "")
        said += ", ".join(f"`{section}={group}`" for group in groups) + ("\n" if groups else "")
        own = sorted((row for row in rows if row[0].split(".")[0] == section), key=lambda row: row[0].count(".") > 1)
        for part, some in groupby(own, key=lambda row: row[0].split(".")[1] if row[0].count(".") > 1 else ""):
            said += f"\n### {section}.{part}\n" if part else ""
            said += "\n| option | type | default | |\n|---|---|---|---|\n" + "".join(line(*row) for row in some)
    return said


if __name__ == "__main__":
    PAGE.write_text(page())
