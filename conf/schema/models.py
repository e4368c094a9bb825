"""The kinds of models that there are, as the options of a recipe: each has its own."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from conf.schema.model_recipe import DOOR, GROUP, PACKAGE, ModelRecipe
from tasks.core import plugins


def options() -> dict[str, type[ModelRecipe]]:
    """The options of each kind, by its name."""
    return {name: plugins.module(PACKAGE, GROUP, name, DOOR).OPTIONS for name in plugins.names(PACKAGE, GROUP, DOOR)}


MODELS = options()
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
AnyModel: Any = Annotated[reduce(or_, MODELS.values()), Field(discriminator="kind")]
"""A model of one of the kinds."""
