"""README and docs: each command is run by a test or named with the reason why not; links, options and recipes work."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from conf.compose import compose, read_model
from conf.paths import has_option
from conf.schema.deployment import DeploymentConf
from flows.cli.main import main
from tests.test_layout import ROOT, label
from tests.test_messages import COMMAND, FLAG, options

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
GENERATED = ROOT / "docs" / "options.md"

RUN_HERE = ("fromzero --help", "fromzero doctor", "fromzero gc", "fromzero init", "fromzero plan", "fromzero runs",
            "fromzero verify")  # fmt: skip
"""What is really run by a test below, each with its options, in a home without a run."""

TESTS = {
    "tests/chaos/test_pipeline.py": {
        "test_s3_that_goes_away_in_the_middle_is_named_and_the_next_run_goes_on": ["fromzero run store=s3"],
    },
    "tests/chaos/test_pretrain.py": {
        "test_a_killed_training_ends_with_the_undisturbed_weights_and_losses": [
            "fromzero run pretrain.run.parallel=fsdp",
        ],
    },
    "tests/chaos/test_services.py": {
        "test_a_killed_keeper_is_started_again_by_the_run_under_way_else_status_misses_it_until_up": [
            "fromzero status",
        ],
        "test_a_killed_setup_harms_nothing_and_the_next_one_ends_it": ["fromzero setup"],
    },
    "tests/conf/test_reference.py": {"test_the_page_is_what_the_schema_says_today": ["make options"]},
    "tests/tasks/core/engine/test_launcher.py": {
        "test_a_step_runs_in_the_place_that_the_options_name": ["fromzero run engine.places.pretrain"],
    },
    "tests/flows/commands/test_takedown.py": {
        "test_nothing_is_taken_down_until_somebody_says_yes_and_it_comes_back": ["fromzero takedown --undo"],
    },
    "tests/flows/test_data.py": {
        "test_upsampling_makes_nothing_again_but_the_repeats": ["fromzero run data.upsample.times"],
    },
    "tests/infra/test_compose.py": {
        "test_without_passwords_nothing_is_started_and_the_message_says_where_they_come_from": ["sh infra/secrets.sh"],
    },
    "tests/infra/test_pretrain_jobs.py": {
        "test_in_slurm_a_worker_saves_and_goes_back_into_the_queue_when_its_time_is_up": [
            "sbatch infra/slurm/worker.sbatch",
        ],
        "test_in_slurm_the_first_node_runs_and_the_others_take_part_until_it_saves_and_goes_back_into_the_queue": [
            "sbatch infra/slurm/pretrain.sbatch",
        ],
    },
    "tests/integration/test_errors_data.py": {
        "test_bad_rows_are_set_aside_up_to_the_limit_and_named_one_by_one": ["fromzero run --until"],
    },
    "tests/integration/test_open_model.py": {
        "test_a_folder_becomes_a_registered_chat_model_that_says_where_it_came_from": [
            "fromzero plan models.chat.start", "fromzero run models.chat.start",
        ],
    },
    "tests/integration/test_pipeline.py": {
        "test_a_worse_model_is_refused_and_a_better_one_promoted_and_hands_move_the_champion": [
            "fromzero promote", "fromzero rollback",
        ],
        "test_a_home_restored_from_a_backup_hits_serves_its_champion_and_has_its_runs": [
            "fromzero backup", "fromzero restore",
        ],
        "test_generate_continues_a_prompt_and_says_which_models_there_are": ["fromzero generate"],
        "test_lineage_leads_from_the_champion_to_every_source": ["fromzero lineage"],
        "test_of_several_models_the_one_that_loses_to_its_baseline_is_refused_and_the_others_are_promoted": [
            "fromzero predict",
        ],
        "test_show_prints_rows_and_what_was_dropped": ["fromzero show"],
    },
    "tests/integration/test_standing.py": {
        "test_processes_that_train_together_and_a_model_that_writes_need_nothing_of_the_folder": [
            "fromzero run pretrain.run.processes",
        ],
    },
    "tests/integration/test_takedown.py": {
        "test_a_document_that_is_taken_down_leaves_its_shard_alone_and_the_models_that_know_it_are_named": [
            "fromzero takedown",
        ],
    },
    "tests/integration/test_terminal.py": {
        "test_a_chat_takes_a_turn_for_each_line_that_is_piped_in": ["fromzero chat"],
        "test_a_terminal_shows_one_line_for_each_stage_and_no_colour_where_none_is_wanted": ["fromzero run"],
        "test_runs_logs_diff_and_compare_tell_what_happened": ["fromzero compare", "fromzero logs"],
        "test_whatever_a_run_dropped_is_counted_by_reason_and_can_be_read": ["fromzero rejects"],
    },
    "tests/integration/test_walk.py": {
        "test_a_day_of_a_team_from_up_to_down": [
            "fromzero deploy", "fromzero down", "fromzero run approval.by=human", "fromzero up",
        ],
    },
    "tests/integration/test_machines.py": {
        "test_a_day_of_a_team_whose_steps_run_on_other_machines": ["fromzero login --env"],
        "test_a_training_on_two_machines_of_a_pool_gets_another_for_a_lost_one_and_ends_as_on_one_machine": [
            "fromzero run pretrain.run.nodes engine=cluster_k8s",
        ],
    },
    "tests/security/test_guard.py": {
        "test_login_prints_links_for_a_person_and_variables_for_a_program_and_nothing_where_nothing_is_up": [
            "fromzero login",
        ],
    },
    "tests/security/test_supply.py": {
        "test_an_audit_without_a_network_says_so_and_makes_licences_and_a_bill_of_materials": ["make audit"],
    },
    "tests/integration/test_postgres_runs.py": {
        "test_of_twenty_runs_at_once_postgres_has_each_task_run_in_its_final_state": ["fromzero up --postgres"],
    },
    "tests/tasks/core/databases/test_postgres.py": {
        "test_both_databases_are_made_once_and_no_file_of_the_home_holds_the_password": ["fromzero setup --postgres"],
    },
    "tests/tasks/core/engine/places/test_pool.py": {
        "test_a_lost_worker_s_body_goes_on_with_another_worker": ["fromzero up --pool", "fromzero run engine.places"],
    },
    "tests/tasks/core/engine/test_trial.py": {
        "test_the_command_tries_the_places_of_an_engine": ["fromzero doctor --engine"],
    },
    "tests/tasks/core/plan/test_planner.py": {"test_refresh_runs_a_step_that_hits": ["fromzero run --refresh"]},
    "tests/tasks/training/network/test_parallelize.py": {
        "test_losses_gradients_and_weights_are_those_of_one_process_however_many_there_are_and_were": [
            "fromzero run pretrain.run.tensor_parallel pretrain.run.processes",
        ],
    },
    "tests/tasks/views/report/test_page.py": {
        "test_the_report_of_a_real_run_is_written_by_the_run_and_by_the_command": ["fromzero report"],
    },
    "tests/test_makefile.py": {
        "test_an_interrupted_installation_starts_anew_and_a_whole_one_is_left_alone": ["make setup"],
    },
}  # fmt: skip
"""By file and name, the test that carries out commands like these, which are given by the words that make them so."""
RUN_BY = {key: (file, name) for file, tests in TESTS.items() for name, keys in tests.items() for key in keys}

NOT_RUN = {
    "FROMZERO_STORE fromzero verify": "needs a bucket; the store on S3 is tested in tests/tasks/core/store/test_s3.py",
    "fromzero run llama_8b": "needs GPUs of 80 GB on two machines",
    "fromzero run gpt2_124m": "needs a GPU and a corpus of its size",
    "fromzero run bert_base": "needs a GPU",
    "fromzero run t5_small": "needs a GPU",
    "fromzero run model=bert_mini": "trains for minutes; smaller: tests/tasks/pretrain/network/test_denoising.py",
    "fromzero run model=t5_mini": "trains for minutes; smaller: tests/tasks/pretrain/network/test_denoising.py",
    "fromzero run data.clean.names.kinds": "takes a model of spaCy from the network; tests/tasks/clean/test_names.py "
                                           "has one of its own",
    "fromzero run pretrain.segments.more": "trains for minutes; tests/tasks/pretrain/test_steps.py has such a chain",
    "fromzero run pretrain.segments.anneal": "trains for minutes; tests/tasks/pretrain/test_steps.py has such a chain",
    "fromzero run depth": "trains for an hour; tests/conf/test_scaling.py has what the depth sets",
    "FROMZERO_STORE fromzero train-node": "waits for other machines; tests/tasks/training/cluster/test_bucket_nodes.py "
                                          "trains with several",
    "fromzero train-node": "waits for other machines; tests/tasks/training/cluster/test_node.py trains with several",
    "fromzero run pretrain.run.resources.gpu": "needs two GPUs; tests/tasks/core/engine/test_device_slots.py pretends",
    "fromzero run models.base.evaluate.run.resources.share_gpu": "needs a GPU; as above",
    "fromzero run engine.fake_devices": "trains for minutes; tests/tasks/core/engine/test_device_slots.py pretends",
    "export": "is the shell's own; URLs in variables are tested in tests/security/test_secrets.py",
    "docker": "needs an engine; the image is tested in tests/infra/test_image.py",
    "docker compose": "needs an engine; tests/infra/test_compose.py runs the services without one",
    "docker compose exec": "needs an engine; tests/infra/test_compose.py runs the services without one",
    "kubectl": "needs a cluster; what the files say is tested in tests/infra/test_manifests.py",
    "kubectl -n fromzero": "needs a cluster; what the files say is tested in tests/infra/test_manifests.py",
    "useradd": "adds a user to the system",
    "git clone": "is git's own",
    "install": "writes to /etc; what the units say is tested in tests/infra/test_units.py",
    "systemctl": "needs systemd as the first process; what the units say is tested in tests/infra/test_units.py",
    "fromzero run llama_1b": "needs GPUs",
    "make demo": "takes minutes; continuous integration runs it before the suite",
    "make dev": "installs from the network",
    "make lock": "resolves versions from the network",
    "make lint": "is run beside the suite",
    "make test": "is the suite",
    ".venv/bin/python -m pytest": "is the suite",
    ".venv/bin/python -m spacy download": "takes a model from the network",
    "make bench": "measures for minutes on a machine without other work",
    "make bench-ops": "measures for an hour on a machine without other work",
    "make bench-data": "installs its peers from the network",
    "make bench-stages": "takes Debian's documentation from the network",
    "make bench-languages": "takes Debian's documentation from the network",
    "make bench-pretrain": "installs its peers from the network",
    "make bench-pretrain-quality": "takes an hour and a half; tests/benchmarks/test_pretrain_quality.py is a dry run",
    "make bench-gpu": "needs a GPU; tests/benchmarks/test_pretrain_gpu.py is a dry run",
    "make chaos": "takes an hour; the suite carries out a seeded choice of the same",
    "make soak": "takes hours; tests/chaos runs shorter ones of the same",
    "make soak-memory": "takes 20 GB of disk; tests/chaos/test_memory.py runs a short one",
}  # fmt: skip
"""Commands that no test runs, with the reason."""


class Command(NamedTuple):
    """A command as a page has it: its words, without the comment behind it."""

    page: str
    line: str
    words: tuple[str, ...]


def commands() -> list[Command]:
    """Each command in the blocks of all pages, once a page."""
    found = {}
    for path in PAGES:
        for language, body in BLOCK.findall(path.read_text()):
            lines = body.splitlines() if language in ("bash", "sh") else []
            lines += [line[2:] for line in body.splitlines() if language == "console" and line.startswith("$ ")]
            for line in lines:
                if words := tuple(shlex.split(line.replace(".venv/bin/fromzero", "fromzero"), comments=True)):
                    found[label(path), words] = Command(label(path), shlex.join(words), words)
    return list(found.values())


COMMANDS = commands()


def fits(key: str, words: tuple[str, ...]) -> bool:
    """Whether a command has all words of a key, as they stand or with a value."""
    return all(any(given == word or given.startswith(f"{word}=") for given in words) for word in key.split())


@cache
def account(words: tuple[str, ...]) -> str | None:
    """The key that says most about a command, in whichever table."""
    known = [key for key in (*NOT_RUN, *RUN_BY, *RUN_HERE) if fits(key, words)]
    return max(known, key=lambda key: len(key.split()), default=None)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted: notes, mine.yaml as `init` writes it, and their other files."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("notes", "corpus"):
        (folder / name).mkdir()
        for number in range(60):
            text = f"Note {number}. A plain note about tea number {number}, and how it is brewed early in the morning."
            (folder / name / f"{number}.txt").write_text(text)
    for _, _, body in blocks("yaml"):
        if (named := re.match(r"# (\w+\.yaml)\n", body)) and named[1] != "mine.yaml":
            (folder / named[1]).write_text(body)
    assert "mine.yaml" in invoke(folder, "init", "notes", "-o", "mine.yaml")
    return folder


def blocks(language: str) -> list[tuple[Path, int, str]]:
    """Page, number and text of all blocks in a language."""
    found = [(path, block) for path in PAGES for block in BLOCK.findall(path.read_text())]
    return [(path, number, body) for number, (path, (known, body)) in enumerate(found) if known == language]


def invoke(desk: Path, *words: str) -> str:
    """What a command of ours says, in a process of its own that has its home on the desk."""
    ours = ("FROMZERO_STORE", "PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "flows.cli.main", *words],
        cwd=desk, env={**environment, "FROMZERO_HOME": str(desk / "home")}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, f"fromzero {shlex.join(words)}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def test_every_command_is_run_by_a_test_or_named_with_the_reason_why_not() -> None:
    unknown = [f"{command.page}: {command.line}" for command in COMMANDS if account(command.words) is None]
    assert unknown == [], "in none of RUN_HERE, RUN_BY and NOT_RUN"


def test_every_line_of_the_tables_is_about_a_command_of_the_pages() -> None:
    assert {*RUN_HERE, *RUN_BY, *NOT_RUN} - {account(command.words) for command in COMMANDS} == set()


@cache
def parsed(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


@pytest.mark.parametrize("key", RUN_BY)
def test_the_test_that_runs_a_command_is_there_and_names_it(key: str) -> None:
    file, name = RUN_BY[key]
    tree = parsed(file)
    others = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    own = [node for node in others if node.name == name]
    assert own, f"{file} has no {name}"
    source = "\n".join(ast.unparse(node) for node in tree.body if node in own or node not in others)
    word = key.split()[-1 if key.startswith(("fromzero", "make")) else 0].partition("=")[0]
    word = word.rpartition(".")[2].removeprefix("--")
    assert re.search(rf"(\b|_){word}(\b|_)", source), f"{file}::{name} does not say {word}"


def test_a_reason_names_only_tests_that_are_there() -> None:
    named = {name for reason in NOT_RUN.values() for name in re.findall(r"tests/[\w/.]*\w", reason)}
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("line", sorted({c.line for c in COMMANDS if account(c.words) in RUN_HERE}))
def test_what_needs_no_run_and_no_server_is_carried_out(desk: Path, line: str) -> None:
    if line.startswith("fromzero init"):
        (desk / "mine.yaml").unlink()
    assert invoke(desk, *shlex.split(line)[1:])


@pytest.mark.parametrize("line", sorted({c.line for c in COMMANDS if "fromzero" in c.words[:2]}))
def test_every_command_of_ours_is_understood(desk: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    _, verb, *words = shlex.split(line[line.index("fromzero ") :])
    if verb != "--help":
        context = main.commands[verb].make_context(verb, list(words))
        if verb in ("plan", "run"):
            compose(context.params["recipe"], context.params["overrides"])


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_every_command_that_is_named_in_passing_is_one_with_these_flags(path: Path) -> None:
    flags = {name: {flag for p in command.params for flag in p.opts} for name, command in main.commands.items()}
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = path.read_text()
    for verb, rest in COMMAND.findall(" ".join(re.findall(r"`[^`]+`", BLOCK.sub("", text)))):
        assert verb in flags, f"there is no `fromzero {verb}`"
        assert set(FLAG.findall(rest)) - {"--help"} <= flags[verb], f"fromzero {verb}{rest}"
    assert set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_every_command_stands_in_a_block_that_is_tested(path: Path) -> None:
    for language, body in BLOCK.findall(path.read_text()):
        if language not in ("bash", "sh", "console"):
            assert not re.search(r"^(\$ )?(\.venv/bin/)?(fromzero|make|pip|python) ", body, re.MULTILINE), body


@pytest.mark.parametrize("path", [path for path in PAGES if path != GENERATED], ids=label)
def test_every_option_that_is_named_is_one_under_its_full_path(path: Path) -> None:
    for option in options(re.sub(r"^```python.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)):
        assert has_option(option), option


@pytest.mark.parametrize(("path", "number", "body"), blocks("yaml"), ids=lambda value: getattr(value, "name", None))
def test_every_recipe_in_a_block_composes(
    desk: Path, path: Path, number: int, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    given = yaml.safe_load(body)
    if "recipe" in given:
        (desk / "deployment.yaml").write_text(body)
        found = read_model(DeploymentConf, desk / "deployment.yaml")
        assert compose(found.recipe, found.overrides)
        return
    needed = [] if "sources" in given.get("data", {}) else ["data.sources.mine.paths=[notes]"]
    recipe = desk / f"{number}.yaml"
    recipe.write_text(yaml.safe_dump({"extends": "text", "name": "mine", **given}, sort_keys=False))
    assert compose(str(recipe), tuple(needed))


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)", BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(path: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", path.read_text())):
        target, _, anchor = link.partition("#")
        if not target.startswith(("http://", "https://")):
            there = (path.parent / target).resolve() if target else path
            assert there.is_relative_to(ROOT) and there.exists(), link
            assert not anchor or anchor in anchors(there), link


def test_the_first_page_is_short_and_leads_to_every_other() -> None:
    text = PAGES[0].read_text()
    assert len(text.splitlines()) <= 230
    assert {f"docs/{path.name}" for path in PAGES[1:]} <= {link.partition("#")[0] for link in LINK.findall(text)}


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_tests_and_folders_that_a_page_names_are_there(path: Path) -> None:
    for name in re.findall(r"`((?:tests|infra|conf|docs|flows|tasks)/[\w./-]+)`", path.read_text()):
        if "KIND" not in name and "GROUP" not in name and name != "docs/images/":
            assert (ROOT / name).exists(), name
