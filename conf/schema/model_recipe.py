"""A model of a recipe: what it is made from, how it is measured, and the name under which it is registered."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field, PrivateAttr, field_validator

from conf.schema.base import Conf
from conf.schema.evaluate import GateConf, MeasureConf
from conf.schema.release import RegisterAs

PACKAGE, GROUP, DOOR = "tasks.models", "fromzero.models", "kind"
"""Where kinds of models are: folders of a package with such a module, and entry points."""
REGISTERED = "The name under which it is registered; null: it is not, and stays in the store."
C = TypeVar("C", bound=Conf)
PRETRAINED = "pretrain"
"""The start that stands for what this recipe pretrains."""
REFERENCE = re.compile(r"models:/.+|store:.+")
"""A start that is there already: a registered model, an artifact."""
FOLDER = re.compile(r"[./~].*")
"""A start that is a folder of this machine."""
HUB = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?", re.ASCII)
"""A start that is a model of the Hugging Face hub."""


class ModelData(Conf):
    """What of the data a model is made from."""

    sources: tuple[str, ...] = ()
    """The sources whose documents it is trained and measured on; none: all of them."""


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "register"')  # the abstract base class of all models has one too

    class ModelRecipe(Conf):
        """What every kind of models shares."""

        kind: str
        """What kind of model it is."""
        start: str = PRETRAINED
        """What it is made from: pretrain, what this recipe pretrains; NAME, another model of this recipe;
        models:/NAME@ALIAS or models:/NAME/VERSION, a registered model; store:STEP/KEY, an artifact; ./FOLDER or
        /FOLDER, a model as transformers' save_pretrained writes it, known by what its files hold;
        hub:OWNER/NAME@REVISION, a model of the Hugging Face hub by branch (main if none is given), tag or commit."""
        data: ModelData = ModelData()
        """What of the data it is made from."""
        evaluate: MeasureConf
        """How it is measured."""
        gate: GateConf
        """What it has to show before it is promoted."""
        register: RegisterAs | None = Field(None, description=REGISTERED)
        _name: str = PrivateAttr("NAME")
        takes: ClassVar[tuple[str, ...]] = ("causal",)
        """The sorts of networks that it can be made from: causal, masked or span (what pretraining trains)."""
        gives: ClassVar[str | None] = "causal"
        """The sort of network that it is; None for one that nothing else is made from."""
        reads_bytes: ClassVar[bool] = False
        """Whether it is measured by bits per byte: no tokenizer may lose a part of the text."""

        def __init_subclass__(cls, **options: Any) -> None:
            # pydantic would take the metaclass's method of that name for the default
            setattr(cls, "register", Field(None, description=REGISTERED))  # noqa: B010
            super().__init_subclass__(**options)

        @field_validator("register", mode="before")
        @classmethod
        def _by_name(cls, given: Any) -> Any:
            return {"name": given} if isinstance(given, str) else given

        @field_validator("start")
        @classmethod
        def _can_be_found(cls, start: str) -> str:
            if start.startswith("hub:") and not HUB.fullmatch(start):
                raise ValueError(f"start={start} is no model of the hub: write hub:OWNER/NAME or hub:OWNER/NAME@COMMIT")
            # a step may run in another folder than the one from which the command names the model
            return str(Path(start).expanduser().absolute()) if FOLDER.fullmatch(start) else start

        @property
        def name(self) -> str:
            """Its name in the recipe."""
            return self._name

        def named(self, name: str) -> Self:
            """The same model under a name."""
            made = self.model_copy()
            made._name = name
            return made

        def told(self, conf: C) -> C:
            """Options of a step that know the model's name: its messages are about options below it."""
            run = conf.run.model_copy(update={"model": self.name})  # type: ignore[attr-defined]
            return conf.model_copy(update={"run": run})

        @property
        def measurement(self) -> Any:
            """What the step gets that measures it: on the sources that it is made from, unless others are named."""
            sources = self.evaluate.sources or self.data.sources
            return self.told(self.evaluate).model_copy(update={"sources": sources})

        @property
        def is_reference(self) -> bool:
            """Whether it starts from what is there already."""
            return REFERENCE.fullmatch(self.start) is not None

        @property
        def is_open(self) -> bool:
            """Whether it starts from a model that others made: of a folder, or of the hub."""
            return (FOLDER.fullmatch(self.start) or HUB.fullmatch(self.start)) is not None
