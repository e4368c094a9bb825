"""What messages advise: each option, command and flag in one is there, and doing as told takes the cause away."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from conf.compose import compose
from conf.paths import has_option
from conf.schema.base import Conf, RunConf
from conf.schema.recipe import Recipe
from flows.cli.main import main
from tasks.core.errors import FromzeroError
from tasks.core.step import Step
from tasks.training.planning.requirements import refuse_attention, refuse_without
from tests.test_layout import STAGES, files, label, offenders
from tests.test_layout import module as module_of

FILES = [path for folder in ("conf", "flows", "tasks") for path in files(folder)]
DOTTED = re.compile(r"(?<![\w./@{}'-])[a-z]\w*(?:\.(?:[A-Za-z_]\w*|\{\})(?![\w{]))+")
COMMAND = re.compile(r"(?:`|\(|#\s+|^\s+|\n\s+)fromzero ([a-z][\w-]*)([^`)\n]*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
QUOTED = re.compile(r"`([^`]*)`|^\w+ --.*")
"""A command: in backticks, or, of another program, a text of its own."""


def is_of_options(path: Path) -> bool:
    """Whether a file holds models of options: their own messages get the path from conf/compose.py."""
    return path.parent.name == "schema" or path.stem.endswith("_options") or path.stem == "kind"


CODE = re.compile(r"^(import|from \w+ import|<)", re.MULTILINE)
ENDINGS = ("json", "jsonl", "yaml", "bin", "npy", "py", "md", "html", "toml")
ADVISED = re.compile(
    r"(?:set|give|lower|raise|change|or) ([a-z]+(?:_[a-z]+)+|[a-z_]+(?==))(?![\w.(/-])(?! of the source)"
)


def models() -> dict[str, type[Conf] | type[RunConf]]:
    """Every model of options, by name."""
    found = {}
    options = [path for path in files("conf/schema", "tasks/models") if is_of_options(path)]
    for path in options:
        module = importlib.import_module(module_of(path))
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, (Conf, RunConf)):
                found[name] = value
    return found


MODELS = models()
NAMES = {name for model in MODELS.values() for name in model.model_fields}


@cache
def texts(path: Path) -> list[tuple[str, str | None]]:
    """The literal texts of a file, {} where a value goes, but its docstrings; each with the class that it stands in."""

    def walk(node: ast.AST, owner: str | None) -> Iterator[tuple[str, str | None]]:
        if isinstance(node, ast.ClassDef):
            owner = node.name
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield "".join(parts), owner
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, owner
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child, owner)

    found = walk(ast.parse(path.read_text()), None)
    return [(text, owner) for text, owner in found if " " in text.strip() and not CODE.search(text)]


def options(text: str) -> Iterator[str]:
    """The dotted names in a text that are, or look like, options."""
    for found in DOTTED.findall(text):
        first, second, *rest = found.split(".")
        looks = first in Recipe.model_fields or (first in NAMES and second in NAMES)
        if looks and (second, *rest)[-1] not in ENDINGS:
            yield re.sub(r"(\.\{\})+$", "", found).replace("{}", "NAME")


def test_every_option_that_a_message_names_is_one_under_its_full_path() -> None:
    def unknown(path: Path) -> list[tuple[str, str]]:
        return [(option, text) for text, _ in texts(path) for option in options(text) if not has_option(option)]

    assert offenders(FILES, unknown) == {}, "no override sets these"


def test_what_a_message_says_to_set_can_be_typed_as_it_stands() -> None:
    def incomplete(path: Path) -> list[tuple[str, str]]:
        advised = [(name, text) for text, _ in texts(path) for name in ADVISED.findall(text)]
        return [(name, text) for name, text in advised if name in NAMES and name not in Recipe.model_fields]

    # The models' own messages are given the path by conf/compose.py.
    assert offenders([path for path in FILES if not is_of_options(path)], incomplete) == {}, "options of what?"


def test_every_command_that_a_message_names_is_one_with_these_flags() -> None:
    commands = {name: {flag for p in command.params for flag in p.opts} for name, command in main.commands.items()}
    every = set().union(*commands.values())

    def wrong(path: Path) -> Iterator[str]:
        for text, _ in texts(path):
            for verb, rest in COMMAND.findall(text):
                if verb not in commands or not set(FLAG.findall(rest)) <= commands[verb]:
                    yield f"there is no `fromzero {verb}{rest}`: {text!r}"
            if path.parts[-2] != "core" or "fromzero" in text:
                ours = QUOTED.sub(lambda found: found[1] if (found[1] or "").startswith("fromzero ") else "", text)
                if flags := set(FLAG.findall(ours)) - every:
                    yield f"no command has {flags}: {text!r}"

    assert offenders(FILES, wrong) == {}


def test_every_step_that_a_message_says_to_make_again_is_one() -> None:
    doors = [module_of(path) for path in files("tasks") if path.stem == "steps"]
    found = [importlib.import_module(door) for door in doors]
    steps = {value.name for module in found for value in vars(module).values() if isinstance(value, Step)}
    for path in FILES:
        for text, _ in texts(path):
            for name in re.findall(r"--(?:refresh|until) ([a-z]\w+)", text):
                assert name in steps | set(STAGES), f"{label(path)}: there is no step {name}"


def composed(*overrides: str) -> Recipe:
    return compose("demo", overrides)


def on_a_cpu(*overrides: str) -> None:
    run = composed(*overrides).pretrain.run
    refuse_without(run, cuda=False)
    refuse_attention(run, cuda=False)


@pytest.mark.parametrize(
    ("do", "cause", "advice"),
    [
        (composed, ["model={kind: native, depth: 4}"], ["model.kind=native", "model.depth=4"]),
        (composed, ["model={architecture: gpt2, config: {n_layer: 2, n_head: 2}}"],
         ["model.architecture=gpt2", "model.config.n_layer=2", "model.config.n_head=2"]),
        (composed, ["data={sources: {talk: {kind: chitchat}}}"], ["data.sources.talk.kind=chitchat"]),
        (composed, ["model.depth=4"], ["model.kind=native"]),
        (composed, ["pretrain=auto"], ["model=native"]),
        (composed, ["data.sources.packages.distributions=torch"], ["data.sources.packages.distributions=[torch]"]),
        (composed, ["data.sources.packages.distributions=torch,numpy"],
         ["data.sources.packages.distributions=[torch,numpy]"]),
        (composed, ["tokenizer=wordpiece_4k"], ["models.base.register=null models.chat.register=null"]),
        (composed, ["model.architecture=bert", "models=none"], ["tokenizer.mask_token='[MASK]'"]),
        (composed, ["model.architecture=t5", "models=none"], ["tokenizer.sentinels=14"]),
        (composed, ["tokenizer.kind=unigram", "tokenizer.run.engine=gigatoken"], ["tokenizer.run.engine=auto"]),
        (composed, ["pretrain.run.attention=varlen", "pretrain.run.precision=fp32"], ["pretrain.run.attention=auto"]),
        (composed, ["pretrain.run.parallel=ddp", "pretrain.run.processes=2", "pretrain.run.tensor_parallel=2"],
         ["pretrain.run.parallel=fsdp"]),
        (composed, ["pretrain.run.precision=fp8", "pretrain.run.processes=2", "pretrain.run.tensor_parallel=2"],
         ["pretrain.run.precision=bf16"]),
        (composed, ["pretrain.run.precision=fp8", "pretrain.run.processes=2", "pretrain.run.tensor_parallel=2"],
         ["pretrain.run.tensor_parallel=1"]),
        (composed, ["pretrain.run.sample_every=5", "pretrain.run.sample_tokens=4096"],
         ["pretrain.run.sample_every=null"]),
        (on_a_cpu, ["pretrain.run.activation_checkpointing=budget", "pretrain.run.checkpointing_budget=0.5"],
         ["pretrain.run.activation_checkpointing=selective"]),
        (on_a_cpu, ["pretrain.run.activation_checkpointing=budget", "pretrain.run.checkpointing_budget=0.5"],
         ["pretrain.run.compile=true"]),
        (on_a_cpu, ["pretrain.run.attention=flex"], ["pretrain.run.attention=auto"]),
        (on_a_cpu, ["pretrain.run.precision=fp8"], ["pretrain.run.precision=auto"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_doing_as_a_message_says_takes_its_cause_away(
    do: Callable[..., object], cause: list[str], advice: list[str], home: Path
) -> None:
    with pytest.raises(FromzeroError) as caught:
        do(*cause)
    for words in advice:
        assert words in str(caught.value), caught.value
    said = [word for words in advice for word in words.split()]
    # What is said to be written one by one takes the place of what was given together; a group that of its options.
    groups = tuple(f"{word.partition('=')[0]}{end}" for word in said for end in ("=", "."))
    do(*[given for given in cause if "={" not in given and not given.startswith(groups)], *said)


@pytest.mark.parametrize(
    ("misspelt", "value"),
    [("tokenizer.vocab_sise", "9000"), ("pretrain.segments.main.tokenz", "100000"), ("data.split.tset", "0.2")],
)
def test_the_nearest_name_that_a_message_offers_is_taken(misspelt: str, value: str, home: Path) -> None:
    with pytest.raises(FromzeroError) as caught:
        composed(f"{misspelt}={value}")
    nearest = re.search(r"did you mean (\w+)\b", str(caught.value))
    assert nearest is not None
    composed(f"{misspelt.rpartition('.')[0]}.{nearest[1]}={value}")
