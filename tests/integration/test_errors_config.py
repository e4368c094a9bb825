"""Wrong options and recipes through the command: the option, the fix, exit code 2, and nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_errors_data import refused
from tests.pipeline_process import NOWHERE, ROOT, House

OPTIONS: dict[str, tuple[str, str]] = {
    "an unknown option": ("tokenizer.vocab_sise=900", "did you mean vocab_size?"),
    "a wrong type": ("tokenizer.vocab_size=many", "tokenizer.vocab_size: Input should be a valid integer"),
    "a value out of range": ("tokenizer.vocab_size=3", "should be greater than or equal to 300 (given: 3)"),
    "an unknown architecture": ("model.architecture=llamma", "model.architecture: there is no 'llamma'; did you mean"),
    "an unknown field of the network": ("model.config.hiden_size=64", "did you mean hidden_size"),
    "sizes that do not divide": ("model.config.num_attention_heads=7", "is not a multiple of num_attention_heads=7"),
    "an unknown step": ("--until=pretrian", "there is no step 'pretrian'; did you mean pretrain"),
    "a source without a kind": (
        "data.sources.mine.paths=[a]",
        "give data.sources.mine.kind=chitchat|debian_packages|files|http|hub|python_packages|sql|warc",
    ),
}
HUGE = ("model.config.hidden_size=65536", "model.config.num_attention_heads=64", "model.config.num_hidden_layers=200")


@pytest.fixture
def demo(tmp_path: Path) -> House:
    """The shipped demo in an empty home, with a Prefect server that does not answer: nothing may ask it."""
    return House(tmp_path, tmp_path / "home", ROOT, Path("demo"), tmp_path, NOWHERE)


@pytest.mark.parametrize("case", sorted(OPTIONS))
def test_a_wrong_option_is_named_with_its_fix(demo: House, case: str) -> None:
    word, message = OPTIONS[case]
    refused(demo.start("plan", "demo", word).wait(None), message, code=2)
    assert not (demo.home / "store").exists()


@pytest.mark.parametrize(
    ("recipe", "text", "message"),
    [
        ("dem", "", "there is no recipe 'dem'; did you mean demo?"),
        ("gone.yaml", "", "there is no file"),
        ("mine.yaml", "extends: dmeo", "extends: there is no recipe 'dmeo'; did you mean demo?"),
        ("mine.yaml", "model: dem", "there is no model 'dem'; did you mean demo?"),
        ("mine.yaml", "data: [1", "cannot be read as YAML"),
    ],
)
def test_an_unknown_or_unreadable_recipe_is_named(demo: House, recipe: str, text: str, message: str) -> None:
    if text:
        recipe = str(demo.folder / recipe)
        Path(recipe).write_text(text)
    refused(demo.start("plan", recipe).wait(None), recipe, message, code=2)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_model_that_cannot_fit_is_refused_in_the_plan_with_its_sizes(demo: House, device: str) -> None:
    words = (*HUGE, f"pretrain.run.device={device}")
    found = demo.start("plan", "demo", *words).wait(None) if device == "cpu" else None
    found = found or demo.start("plan", "demo", *words, env={"CUDA_VISIBLE_DEVICES": ""}).wait(None)
    refused(found, "pretrain.segments.main", "GB of memory", "lower pretrain.run.micro_batch", "model.config", code=1)


def test_a_run_of_a_model_that_cannot_fit_begins_no_step(demo: House, prefect_url: str) -> None:
    house = House(demo.folder, demo.home, ROOT, demo.recipe, demo.texts, prefect_url)
    found = house.begin(*HUGE, "pretrain.run.device=cpu").wait(None)
    refused(found, "lower pretrain.run.micro_batch", code=1)
    assert not (house.home / "store").exists()
