"""The kinds of models that there are, as the options of a recipe: each has its own."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from conf.schema.model_recipe import DOOR, GROUP, PACKAGE, ModelRecipe
from tasks.core import plugins

MODELS: dict[str, type[ModelRecipe]] = plugins.options(PACKAGE, GROUP, DOOR)
"""The options of each kind, by its name."""
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
AnyModel: Any = Annotated[reduce(or_, MODELS.values()), Field(discriminator="kind")]
"""A model of one of the kinds."""
