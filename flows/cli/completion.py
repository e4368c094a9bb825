"""What the shell offers when TAB is pressed: light, for it is asked on every press."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from click.shell_completion import CompletionItem, get_completion_class

ROOT = Path(__file__).parents[2]
BASH = """\
_fromzero_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" breaks="" prefix="" mark type value
    local -a words
    IFS=' ' read -ra words <<< "$line"
    local number=${#words[@]} whole="${line##*[[:space:]]}"
    [[ $line == *[[:space:]] ]] || ((number--))
    for mark in = @ :; do [[ $COMP_WORDBREAKS == *$mark* ]] && breaks+=$mark; done
    [[ -n $breaks && $whole == *[$breaks]* ]] && prefix="${whole%"${whole##*[$breaks]}"}"
    prefix="${prefix%@}"  # readline keeps an @ with the word that follows it
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("${value#"$prefix"}")
            [[ $value == *[=.@] ]] && compopt -o nospace
        fi
    done < <(env COMP_WORDS="$line" COMP_CWORD=$number _FROMZERO_COMPLETE=bash_complete "$1")
}
complete -o nosort -F _fromzero_completion fromzero
"""
"""Click's own script for bash would cut words at = and @, and put a space behind an option whose value follows."""


def script(command: click.Command, shell: str) -> str:
    """The lines that switch completion on in a shell."""
    if shell == "bash":
        return BASH
    found = get_completion_class(shell)
    assert found is not None
    return found(command, {}, "fromzero", "_FROMZERO_COMPLETE").source()


def recipe_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped recipes and YAML files; options too, for the recipe may be left out."""
    shipped = [path.stem for path in sorted((ROOT / "conf/recipe").glob("*.yaml"))]
    found = [CompletionItem(name) for name in shipped if name.startswith(incomplete)]
    options = override_keys(ctx, param, incomplete) if "." in incomplete or "=" in incomplete else []
    return [*found, *options, CompletionItem(incomplete, type="file")]


def override_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Dotted names of options, one level at a time, `=` behind the last; behind it the values that are known."""
    from conf.schema.recipe import Recipe

    name, equals, value = incomplete.partition("=")
    if equals:
        return [CompletionItem(f"{name}={one}") for one in _values(Recipe, name) if one.startswith(value)]
    parent, dot, start = name.rpartition(".")
    found = []
    for key, annotation in _fields(Recipe, parent.split(".") if parent else []):
        if key.startswith(start):
            deeper = list(_models(annotation)) or _mapped(annotation)
            found.append(CompletionItem(f"{parent}{dot}{key}{'.' if deeper else '='}"))
            if not parent and (ROOT / "conf" / key).is_dir():
                found.append(CompletionItem(f"{key}="))
    return found


def _fields(model: Any, path: list[str]) -> Iterator[tuple[str, Any]]:
    """The options below a path; below a mapping any name goes."""
    here: list[Any] = [model]
    while path:
        name, *path = path
        annotations = [m.model_fields[name].annotation for m in here if name in m.model_fields]
        if path and any(_mapped(annotation) for annotation in annotations):
            path = path[1:]
        here = [inner for annotation in annotations for inner in _models(annotation, values=True)]
    seen = {}
    for inner in here:
        seen.update({name: field.annotation for name, field in inner.model_fields.items()})
    yield from seen.items()


def _models(annotation: Any, values: bool = False) -> Iterator[Any]:
    """The models that an annotation allows; with `values` those of a mapping's values too."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        yield annotation
    elif get_origin(annotation) is not dict or values:
        for inner in get_args(annotation):
            yield from _models(inner, values)


def _mapped(annotation: Any) -> list[Any]:
    """Not empty for a mapping whose values are models."""
    return list(_models(annotation, values=True)) if get_origin(annotation) is dict else []


def _values(model: Any, name: str) -> Iterator[str]:
    """Groups by name, the choices of a Literal, true and false."""
    if "." not in name:
        yield from (path.stem for path in sorted((ROOT / "conf" / name).glob("*.yaml")))
    *parent, last = name.split(".")
    for key, annotation in _fields(model, parent):
        if key == last:
            yield from _choices(annotation)


def _choices(annotation: Any) -> Iterator[str]:
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif annotation is type(None):
        yield "null"
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)


def step_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Steps, and for --refresh stages too, as their files declare them."""
    found = []
    for path in sorted((ROOT / "tasks").glob("*/steps.py")):
        if param.name == "refresh":
            found.append(path.parent.name)
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef) and any(_declares(one) for one in node.decorator_list):
                found.append(node.name)
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def _declares(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(target, ast.Name) and target.id in ("step", "effect")


def run_refs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of runs that have ended, newest first, and those under way; from file names alone."""
    from tasks.core.store.open import home

    ended = [path.stem.rpartition("-")[2] for path in sorted((home() / "store/_runs").glob("*.json"), reverse=True)]
    running = [path.stem[-8:] for path in (home() / "running").glob("*.json")]
    known = dict.fromkeys(["last", *running, *ended])
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def model_refs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """NAME@ALIAS and NAME@VERSION of registered models, from this home's MLflow database."""
    names = [f"{name}@{which}" for name, which in _registered()]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of registered models."""
    names = dict.fromkeys(name for name, _ in _registered())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def version_refs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Aliases and versions of the model that was named before."""
    found = [which for name, which in _registered() if name == ctx.params.get("name")]
    return [CompletionItem(which) for which in found if which.startswith(incomplete)]


def artifact_refs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Steps that have artifacts in this home, behind a / the starts of their keys; models too."""
    from tasks.core.store.open import home

    pattern = "[!_.]*/*" if "/" in incomplete else "[!_.]*"
    folders = sorted(path for path in (home() / "store").glob(pattern) if path.is_dir())
    names = [f"{path.parent.name}/{path.name[:12]}" if "/" in incomplete else path.name for path in folders]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*found, *model_refs(ctx, param, incomplete)]


def _registered() -> list[tuple[str, str]]:
    """(model, alias or version); nothing where no database is: TAB must make none and say nothing."""
    from tasks.core.databases import home_databases
    from tasks.core.store.open import home

    database = home_databases.mlflow(home())
    if not database.exists():
        return []
    query = """SELECT name, alias FROM registered_model_aliases UNION ALL
               SELECT name, CAST(version AS VARCHAR) FROM model_versions WHERE current_stage != 'Deleted_Internal'"""
    try:
        return [(str(name), str(which)) for name, which in database.rows(query)]
    except Exception:  # of another version, locked, away or damaged: the command itself says so, TAB must not
        return []
