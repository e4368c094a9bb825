"""The rooms and their doors: rules over the graph of imports, names and lengths."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
STAGES = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/steps.py"))
DOORS = ("steps", "kind", "main")
"""Modules that nothing of their own folder imports: they count as places of their own."""
SHARED = ("core", "corpus", "formats", "text", "training")
"""What every stage may import of tasks/ beside itself."""


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


OURS = files("flows", "tasks", "conf")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in OURS}


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, parsed once for all rules."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def offenders(paths: Iterable[Path], wrong: Callable[[Path], Iterable[Any]]) -> dict[str, list[Any]]:
    """What breaks a rule, by file."""
    return {label(path): found for path in paths if (found := list(wrong(path)))}


@cache
def imports(path: Path, types: bool = True) -> tuple[str, ...]:
    """Full names of what a file imports, lazily or not; without `types` not what is imported for annotations alone."""
    guarded = [node for node in nodes(path) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    left_out = set() if types else {id(inside) for node in guarded for inside in ast.walk(node)}
    found = []
    for node in nodes(path):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(found)


def imported(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports when it runs."""
    for name in imports(path, types=False):
        parent = name.rpartition(".")[0]
        if name in MODULES and MODULES[name].name != "__init__.py":
            yield name
        elif parent in MODULES and MODULES[parent].name != "__init__.py":
            yield parent


def folder(name: str) -> str:
    parent, _, last = name.rpartition(".")
    return name if last in DOORS else parent


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """A circle through each node that has one, found by walking on to the nearest ones."""
    found = []
    for start in sorted(graph):
        ways: dict[str, list[str]] = {start: [start]}
        waiting = [start]
        while waiting:
            node = waiting.pop(0)
            for other in sorted(graph.get(node, ())):
                if other == start:
                    found.append([*ways[node], start])
                    waiting = []
                    break
                if other not in ways:
                    ways[other] = [*ways[node], other]
                    waiting.append(other)
    return found


def test_flows_import_no_torch_and_no_pandas_and_of_a_stage_only_its_door() -> None:
    def is_wrong(name: str) -> bool:
        first, *rest = name.split(".")
        inside = first == "tasks" and rest[0] in STAGES and rest[1:2] != ["steps"]
        return inside or first in ("torch", "pandas", "polars", "transformers", "mlflow")

    assert offenders(files("flows"), lambda path: filter(is_wrong, imports(path))) == {}


def test_only_the_engine_imports_prefect_and_only_tracking_and_register_mlflow() -> None:
    rooms = {"prefect": ("tasks/core/engine/",), "mlflow": ("tasks/core/tracking/", "tasks/register/")}

    def wrong(path: Path) -> list[str]:
        return [name for name in imports(path) if not label(path).startswith(rooms.get(name.split(".")[0], ""))]

    assert offenders(files("tasks"), wrong) == {}


def test_stages_do_not_import_each_other_and_the_shared_rooms_import_no_stage() -> None:
    def wrong(path: Path) -> Iterator[str]:
        own = path.relative_to(ROOT / "tasks").parts[0]
        for name in imports(path):
            if own != "views" and name.startswith("tasks."):
                other, *rest = name.split(".")[1:]
                by_kind = other == "models" and rest[0] == "kind"  # the record; no stage knows a single kind
                trained = own == "models" and other in ("finetune", "evaluate")
                if not (other in (*SHARED, own) or by_kind or trained):
                    yield name

    assert offenders(files("tasks"), wrong) == {}


def test_views_and_questions_about_documents_import_no_stage() -> None:
    def wrong(path: Path) -> list[str]:
        return [name for name in imports(path) if name.startswith("tasks.") and name.split(".")[1] in STAGES]

    assert offenders(files("tasks/views", "tasks/corpus"), wrong) == {}


def test_every_stage_of_the_design_has_its_door() -> None:
    assert STAGES == ["clean", "collect", "evaluate", "finetune", "pretrain", "register", "tokenize", "validate"]


BELOW = {"conf": ("conf", "tasks.core"), "tasks.core": ("tasks.core", "conf"), "tasks": ("tasks", "conf")}
"""What each room may import; flows import all."""


def test_no_arrow_points_upwards() -> None:
    """Of tasks/core what lies in no inner room is below conf/."""

    def wrong(path: Path) -> Iterator[str]:
        own = module(path)
        room = next(room for room in ("tasks.core", "tasks", "conf") if own.startswith(room))
        is_low = room == "conf" or folder(own) == "tasks.core"
        for name in imported(path):
            at_the_bottom = folder(name) == "tasks.core" or (room == "conf" and name.startswith("conf"))
            if not name.startswith(BELOW[room]) or (is_low and not at_the_bottom):
                yield name

    assert offenders(files("conf", "tasks"), wrong) == {}


def test_no_folders_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for path in OURS:
        own = folder(module(path))
        graph[own] |= {folder(name) for name in imported(path)} - {own}
    assert circles(graph) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles({module(path): set(imported(path)) for path in OURS}) == []


def test_no_two_modules_have_one_name() -> None:
    """Beside the doors: options are named as what they are the options of, a group of commands as what it commands."""
    apart = [path for path in OURS if path.parent.name not in ("schema", "commands") and path.stem not in DOORS]
    names = Counter(path.stem for path in apart if path.name != "__init__.py")
    assert not {name: [label(path) for path in apart if path.stem == name] for name in names if names[name] > 1}


SOURCES = {path.stem for path in files("tasks/collect/sources")} - {"__init__"}
ORDINARY = {"files", "http", "hub", "warc"}
"""Kinds of sources whose names mean other things too: those are looked for only where a kind is named."""


def strings(node: ast.AST | None) -> Iterator[str]:
    for inner in ast.walk(node) if node else ():
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def kinds_named(path: Path) -> Iterator[str]:
    """Kinds of sources that a file names: in a string of nothing else, after `kind:`, or as the value of a kind."""
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from {node.value} - ORDINARY
            yield from re.findall(r"\bkind[=:]\W*(\w+)", node.value)
        elif isinstance(node, ast.Compare) and re.search(r"\bkind\b", ast.unparse(node)):
            yield from strings(node)
        elif isinstance(node, ast.keyword) and node.arg == "kind":
            yield from strings(node.value)
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (text for key, value in pairs if "kind" in strings(key) for text in strings(value))


def test_no_kind_of_source_is_named_or_imported_outside_of_its_own_file() -> None:
    def wrong(path: Path) -> Iterator[str]:
        if folder(module(path)) != "tasks.collect.sources":  # the message of one may advise another
            yield from SOURCES & set(kinds_named(path))
        yield from (name for name in imports(path) if name.startswith("tasks.collect.sources."))

    assert offenders(OURS, wrong) == {}


FILE_NAME = re.compile(r"(?<![\w.*-])[\w-][\w.-]*\.(?:parquet|jsonl|json|bin|npy|npz|yaml|html|safetensors)(?!\w)")
GIVEN = {
    "meta.json": "what spaCy calls the file about a model, beside ours about tokens",
    "state.json": "what save_to_disk of datasets leaves, beside the state of our segments",
}
"""Names that two rooms have for different files, one of them given by the world."""


def room(path: Path) -> str:
    """A stage, a kind of models, an inner room of tasks/core, of tasks/views, of flows or of conf."""
    parts = path.relative_to(ROOT).parts[:-1]
    return "/".join(parts[: 3 if parts[:2] in (("tasks", "core"), ("tasks", "views"), ("tasks", "models")) else 2])


def files_named(path: Path) -> set[str]:
    """Names of files in a module's strings, also at the end of paths and in messages; docstrings do not count."""
    documented = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
    texts = [node for node in nodes(path) if isinstance(node, ast.Constant) and id(node) not in documented]
    return {name for node in texts if isinstance(node.value, str) for name in FILE_NAME.findall(node.value)}


def test_no_file_of_one_room_is_named_in_another() -> None:
    """What one writes and another reads is declared in tasks/formats, or by the room that writes it."""
    named: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in OURS:
        for name in files_named(path) - GIVEN.keys():
            named[name][room(path)].append(label(path))
    assert not {name: dict(rooms) for name, rooms in named.items() if len(rooms) > 1}


def test_no_file_has_more_than_400_lines() -> None:
    lengths = {label(path): len(path.read_text().splitlines()) for path in OURS}
    assert not {name: lines for name, lines in lengths.items() if lines > 400}


def test_only_one_place_knows_how_a_python_of_ours_is_started() -> None:
    def started(path: Path) -> list[int]:
        lists = [node for node in nodes(path) if isinstance(node, ast.List) and node.elts]
        return [node.lineno for node in lists if ast.unparse(node.elts[0]) == "sys.executable"]

    assert offenders(OURS, started).keys() <= {"tasks/core/interpreter.py"}


KINDS = {path.parent.name: path.parent for path in (ROOT / "tasks/models").glob("*/kind.py")}
DECORATED = {
    node.name: folder
    for folder in KINDS.values()
    for node in ast.parse((folder / "steps.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.decorator_list
}
"""The steps of kinds of models, and whose they are."""


def test_no_kind_of_models_and_none_of_its_steps_is_named_outside_of_its_folder() -> None:
    """The command has a verb of its own for some, and people have columns that are called translation."""
    owners = KINDS | DECORATED
    owners.pop("translation")

    def wrong(path: Path) -> list[str]:
        named = [node.value for node in nodes(path) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        return [name for name in named if name in owners and owners[name] not in path.parents]

    assert offenders([path for path in OURS if path.parent != ROOT / "flows/cli"], wrong) == {}
