"""Every shipped YAML through the command, and what a wrong option is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from conf.checking import NETWORKS
from conf.compose import FOLDER, compose, recipes
from conf.paths import GROUPS
from conf.schema.base import Conf, RunConf
from conf.schema.data import SOURCES, SourceConf
from conf.schema.model import ModelConf, NativeConf, NetworkConf
from conf.schema.model_recipe import DOOR, GROUP, PACKAGE
from conf.schema.recipe import Recipe
from conf.schema.rules import languages, published
from flows.cli.main import main
from tasks.core import plugins
from tasks.core.errors import ConfigError

OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((FOLDER / group).glob("*.yaml"))]
KINDS = "|".join(plugins.names(PACKAGE, GROUP, DOOR))
NEEDED = {("data", "text"): "data.sources.mine.paths=[README.md]"}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_shipped_group_loads_through_the_command(group: str, option: str, home: Path) -> None:
    words = ["plan", "demo", "--json", f"{group}={option}", "--until", "fetch_shard"]
    words += [NEEDED[group, option]] if (group, option) in NEEDED else []
    words += ["model=native"] if (group, option) == ("pretrain", "auto") else []
    words += ["models.base.register=null", "models.chat.register=null"] if option == "wordpiece_4k" else []
    hides = {"bert": ["tokenizer.mask_token='[MASK]'"], "t5": ["tokenizer.sentinels=40"]}.get(option.split("_")[0], [])
    words += ["models=none", *hides] if hides or option == "wordpiece_30k" else []
    if (group, option) == ("store", "s3"):
        assert compose("demo", ("store=s3", "store.bucket=models")).store.kind == "s3"
        return
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output
    assert {row["action"] for row in json.loads(ran.stdout)["steps"]} == {"run"}


@pytest.mark.parametrize("name", recipes())
def test_every_shipped_recipe_loads(name: str) -> None:
    needed = ("data.sources.mine.paths=[README.md]",) if name not in ("demo", "packages") else ()
    assert compose(name, needed).name == name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokenizer.vocab_sise=9", "tokenizer has no option 'vocab_sise'; did you mean vocab_size?"),
        ("data.sources.packages.distribution=[a]", "no option 'distribution' here; did you mean distributions"),
        ("pretrain.segments.main.tokenz=3", "no option 'tokenz' here; did you mean tokens"),
        ("model=demos", "there is no model 'demos'; did you mean demo?"),
        ("tokenizer.vocab_size=many", "tokenizer.vocab_size: Input should be a valid integer"),
        ("tokenizer.vocab_size=3", "tokenizer.vocab_size: Input should be greater than or equal to 300"),
        (
            "data.sources.packages.kind=mail",
            "packages.kind: there is no 'mail'; there are: chitchat, debian_packages, files, http",
        ),
        ("data.sources.packages.min_chars=0", "data.sources.packages.min_chars: Input should be greater"),
        ("data.clean.rules=gofer", "data.clean.rules: there is no set of rules 'gofer'; did you mean gopher?"),
        ("data.clean.language.keep=[eng]", "data.clean.language.keep: there is no language 'eng'; did you mean en?"),
        ("vocab", "'vocab' is not KEY=VALUE"),
        ("data.sources.packages.distributions=[~/a]", "put double quotes round what has special characters"),
        ("data.sources={shop: {kind: sql, text: 3}}", "data.sources.shop.text: Input should be a valid str"),
        ("data=text", "data.sources.mine.paths has no default: give data.sources.mine.paths="),
        ("models.mine={}", f"models.mine has no kind: give models.mine.kind={KINDS}"),
        ("models.mine={start: base}", "models.mine has no kind: give models.mine.kind="),
        ("models.base=null", "models.chat.start=base is none of pretrain, classifier, models:/NAME@ALIAS, store:"),
        ("model.architecture=bert", "no token to hide them behind: set \"tokenizer.mask_token='[MASK]'\""),
        ("model.architecture=t5", "and the tokenizer has 0 tokens to hide them behind: set tokenizer.sentinels=14"),
        ("model={architecture: bert, tie_embeddings: false}", "is not for encoders that restore hidden words"),
        ("model.noise={masked: 0.9, random: 0.2}", "masked=0.9 and random=0.2 add up to more than 1"),
        ("model.depth=4", "model.depth is an option of another kind of model: give model.kind=native, or leave it out"),
        ("model.kind=nativ", "model.kind: there is no 'nativ'; did you mean native?"),
        ("pretrain=auto", "pretrain.segments.main.tokens=auto follows the depth of a native model: choose one"),
        ("pretrain.optimizer.weight_decay=auto", "pretrain.optimizer.weight_decay=auto follows the depth"),
        ("tokenizer=wordpiece_4k", "so the bits per byte that promote base, chat would count too little"),
    ],
)
def test_a_wrong_override_is_named_with_its_fix(override: str, message: str, home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("demo", (override,))
    assert message in str(caught.value)
    ran = CliRunner().invoke(main, ["plan", "demo", override])
    assert (ran.exit_code, "Traceback" in ran.output) == (2, False)
    assert message in ran.stderr


@pytest.mark.parametrize(
    ("overrides", "blamed"),
    [
        (("data.sources.mine.kind=fils",), "data.sources.mine.kind=fils"),
        (("data.sources.mine={kind: fils}", "name=ours"), "data.sources.mine={kind: fils}"),
        (("tokenizer.vocab_size=2", "data.shard_mb=0"), "data.shard_mb=0 tokenizer.vocab_size=2"),
        (("tokenizer.vocab_size=2", "tokenizer.vocab_size=3"), "tokenizer.vocab_size=3"),
    ],
)
def test_what_the_command_line_gave_is_not_blamed_on_the_recipe_file(
    overrides: tuple[str, ...], blamed: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: text\ndata: {sources: {mine: {paths: [notes]}}}\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(blamed)} is not valid:"):
        compose(str(path), overrides)
    path.write_text(path.read_text() + "pretrain: {seed: -1}\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(f'{path} with {blamed}')} is not valid:"):
        compose(str(path), overrides)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))} is not valid:"):
        compose(str(path))


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("models.chat.train.learning_rate=-1", "models.chat.train.learning_rate"),
        ("models.chat.start=hub:a", "models.chat.start"),
        ("data.sources.chat.max_conversations=-1", "data.sources.chat.max_conversations"),
        ("data.sources.packages.max_bad_rows=-1", "data.sources.packages.max_bad_rows"),
        ("models.models.kind=chat models.models.train.learning_rate=-1", "models.models.train.learning_rate"),
        ("models.chat.method.rank=0", "models.chat.method.rank"),
        ("models.classifier.method.kind=head +models.classifier.method.rank=2", "models.classifier.method.rank"),
        ("models.classifier.train.max_length=3", "models.classifier.train.max_length"),
    ],
)
def test_an_option_is_named_in_full_whatever_its_source_or_model_is_called(override: str, path: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?m)^  {re.escape(path)}: "):
        compose("demo", tuple(override.split()))


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ("models.x={start: base}", f"models.x.kind={KINDS}"),
        ("models.x={kind: chat, method: {rank: 8}}", "models.x.method.kind=full|lora|dora|rslora"),
        ("models.x={kind: text_classification, method: {rank: 8}}", "models.x.method.kind=full|lora|dora|rslora|head"),
    ],
)
def test_what_lacks_its_kind_is_told_the_kinds_of_its_place(given: str, kinds: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?m)has no kind: give {re.escape(kinds)}$"):
        compose("demo", (given,))


def test_what_the_members_of_a_union_say_of_one_value_is_one_sentence() -> None:
    with pytest.raises(ConfigError) as refused:
        compose("demo", ("models.chat.train.learning_rate=-1",))
    _, line = str(refused.value).splitlines()
    assert line == "  models.chat.train.learning_rate: Input should be greater than 0, or 'auto' (given: -1)"


@pytest.mark.parametrize("method", ["full", "dora", "rslora"])
def test_another_method_takes_the_place_of_the_one_before(method: str) -> None:
    found = compose("demo", (f"models.chat.method={{kind: {method}}}",)).models["chat"].method
    assert found.kind == method


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("The", "pretrain.run.sample_prompts is a list: give pretrain.run.sample_prompts=[The]"),
        ("It was", "pretrain.run.sample_prompts is a list: give 'pretrain.run.sample_prompts=[\"It was\"]'"),
        ("{a: 1}", "pretrain.run.sample_prompts is a list: give pretrain.run.sample_prompts=[…]"),
        ("a,b", "write pretrain.run.sample_prompts=[a,b] for a list, 'pretrain.run.sample_prompts=\"a,b\"' for a text"),
    ],
)
def test_a_list_that_is_written_as_a_text_is_told_how_it_is_written(given: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose("demo", (f"pretrain.run.sample_prompts={given}",))
    assert str(caught.value).endswith(fix)
    if "give" in fix and "…" not in fix:
        option = fix.partition("give ")[2].strip("'")
        assert compose("demo", (option,)).pretrain.run.sample_prompts == (given,)


def test_every_source_that_there_is_has_options_of_its_kind() -> None:
    union, _ = get_args(SourceConf)
    assert {*plugins.names(*SOURCES)} == {get_args(m.model_fields["kind"].annotation)[0] for m in get_args(union)}


def test_the_kinds_of_models_are_those_of_the_union() -> None:
    union, _ = get_args(NetworkConf)
    assert set(NETWORKS.values()) == set(get_args(union))
    assert all(get_args(network.model_fields["kind"].annotation) == (kind,) for kind, network in NETWORKS.items())


def test_another_kind_of_model_takes_nothing_over_and_is_still_told_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nmodel: {kind: native, depth: 3}\n")
    for found in (compose("demo", ("model.kind=native", "model.depth=3")), compose(str(path))):
        assert found.model == NativeConf(depth=3)
    assert compose("demo", ("model=native", "model.kind=transformers")).model == ModelConf()
    for overrides in (("model.kind=native", "model.depth=3", "model.architecture=gpt2"), ("model.kind=native",)):
        with pytest.raises(ConfigError, match=r"model\.architecture is an option of another|model\.depth is missing"):
            compose("demo", overrides)


def test_a_wrong_depth_is_the_only_thing_that_is_said() -> None:
    with pytest.raises(ConfigError) as caught:
        compose("demo", ("model=native", "pretrain=auto", "model.depth=many"))
    assert str(caught.value).splitlines()[1:] == [
        "  model.depth: Input should be a valid integer, unable to parse string as an integer (given: 'many')"
    ]


def test_sizes_of_a_native_model_that_do_not_divide_are_refused_with_both() -> None:
    with pytest.raises(ConfigError, match="model: width=256 is not a multiple of num_heads=3"):
        compose("demo", ("model=native", "model.num_heads=3"))


def test_a_sequence_longer_than_a_native_model_takes_is_refused_with_both_options() -> None:
    with pytest.raises(ConfigError, match=r"main\.seq_len=256 is more than model\.max_positions=128"):
        compose("demo", ("model=native", "model.max_positions=128"))


def test_samples_as_long_as_a_sequence_are_refused_with_the_options_and_only_where_there_are_any() -> None:
    long = "pretrain.run.sample_tokens=256"
    compose("demo", (long,))
    compose("demo", (long, "pretrain.run.sample_every=5", "pretrain.run.sample_prompts=[]"))
    with pytest.raises(ConfigError, match=r"run\.sample_tokens=256 .* pretrain\.segments\.main\.seq_len=256: lower"):
        compose("demo", (long, "pretrain.run.sample_every=5"))
    compose("demo", ("pretrain.run.sample_tokens=255", "pretrain.run.sample_every=5"))


@pytest.mark.parametrize("name", ["text", "depth", "gpt2_124m", "llama_350m", "llama_1b", "llama_8b"])
def test_models_of_text_are_not_asked_to_go_on_with_docstrings(name: str) -> None:
    found = compose(name, ("data.sources.mine.paths=[README.md]",))
    assert found.models["base"].evaluate.prompts == ("The", "It was", "In this")


def test_the_windows_of_small_models_of_text_are_as_long_as_what_they_are_trained_on() -> None:
    found = compose("text", ("data.sources.mine.paths=[README.md]",))
    assert found.models["base"].evaluate.window == found.pretrain.segments["main"].seq_len


def test_a_recipe_file_need_not_call_its_source_as_the_recipe_does_that_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "notes.yaml"
    path.write_text("extends: text\ndata: {sources: {notes: {kind: files, paths: [notes]}}}\n")
    assert list(compose(str(path)).data.sources) == ["notes"]
    with pytest.raises(ConfigError, match=r"data\.sources\.mine\.paths has no default"):
        compose(str(path), ("data.sources.mine.text=body",))


def test_an_unknown_recipe_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no recipe 'dem'; did you mean demo"):
        compose("dem")


def test_a_recipe_file_extends_another_and_overrides_come_last(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nname: mine\ntokenizer: {vocab_size: 999}\nmodel: demo\n")
    assert compose(str(path)).tokenizer.vocab_size == 999
    assert compose(str(path)).models["base"].register.name == "mine-base"
    assert compose(str(path), ("tokenizer.vocab_size=888",)).tokenizer.vocab_size == 888
    path.write_text("name: mine\ntokenizr: {}\n")
    with pytest.raises(ConfigError, match="no option 'tokenizr'; did you mean tokenizer"):
        compose(str(path))
    path.write_text("name: [mine\n")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        compose(str(path))


@pytest.mark.parametrize("name", [name for name in published() if name not in languages().values()])
def test_every_shipped_set_of_rules_loads_through_the_command(name: str, home: Path) -> None:
    words = ["plan", "demo", "--json", "--until", "fetch_shard", f"data.clean.rules={name}"]
    ran = CliRunner().invoke(main, [*words, f"data.clean.rules_by_source={{chat: {name}}}"])
    assert ran.exit_code == 0, ran.output


def test_every_shipped_set_of_a_language_loads_through_the_command(home: Path) -> None:
    by_language = ", ".join(f"{code}: {name}" for code, name in languages().items())
    words = ["plan", "demo", "--json", "--until", "fetch_shard", "data.clean.language={}"]
    ran = CliRunner().invoke(main, [*words, f"data.clean.rules_by_language={{{by_language}}}"])
    assert ran.exit_code == 0, ran.output


def test_rules_of_a_language_need_languages_and_a_known_one(tmp_path: Path) -> None:
    for wrong, said in (
        ("rules_by_language: {zh: fineweb2_zh}", r"set language: \{\}"),
        ("language: {}, rules_by_language: {cn: fineweb2_zh}", "there is no language 'cn'"),
        ("language: {}, rules_by_language: {zh: c4}", r"rules_by_language\.zh\.lines: lines are taken out before"),
    ):
        (tmp_path / "mine.yaml").write_text(f"extends: demo\ndata: {{clean: {{{wrong}}}}}\n")
        with pytest.raises(ConfigError, match=said):
            compose(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("rules", ["data.clean.rules", "data.clean.rules_by_source.web"])
def test_a_single_rule_changes_sets_that_are_named_before_it_or_in_a_file(rules: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\ndata: {clean: {rules: gopher, rules_by_source: {web: [gopher, c4]}}}\n")
    change = (f"{rules}.min_words=9",)
    for conf in (compose("demo", (f"{rules}=[gopher,c4]", *change)), compose(str(path), change)):
        found = conf.data.clean.rules_by_source["web"] if "web" in rules else conf.data.clean.rules
        assert (found.min_words, found.min_stop_words) == (9, 2)


def test_every_field_of_every_model_says_what_it_is() -> None:
    def below(base: type) -> list[type]:
        return [base, *(deep for child in base.__subclasses__() for deep in below(child))]

    assert Recipe in below(Conf)
    for model in [*below(Conf), *below(RunConf)]:
        if model.__module__.startswith("conf."):
            for name, field in model.model_fields.items():  # type: ignore[attr-defined]
                assert field.description, f"{model.__name__}.{name} has no docstring"


def test_planning_imports_nothing_heavy_and_starts_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from flows.runs import running; from conf.compose import compose; running.plan(compose('demo'));"
        "heavy = {'torch', 'prefect', 'mlflow', 'polars', 'pandas', 'great_expectations', 'transformers', 'boto3'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"FROMZERO_HOME": str(tmp_path / "none")}
    )
    assert ran.stdout.strip() == "[]", ran.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("override", "now"),
    [
        ("pretrain.valid_every=9", "eval_interval"),
        ("pretrain.optimizer.guard_back=9", "rollback_interval"),
        ("pretrain.run.recompute=full", "activation_checkpointing"),
        ("data.shrink_limit=1", "max_entry_loss"),
        ("model.inner=64", "intermediate_size"),
    ],
)
def test_an_option_that_had_another_name_is_refused_with_the_present_one(
    override: str, now: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"it is now '{now}'"):
        compose("demo", (override,))
    path, (name, _, value) = tmp_path / "mine.yaml", override.partition("=")
    nested = value
    for part in reversed(name.split(".")):
        nested = f"{{{part}: {nested}}}"
    path.write_text(nested)
    with pytest.raises(ConfigError, match=f"it is now '{now}'"):
        compose(str(path))
