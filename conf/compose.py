"""A recipe's YAML and the overrides of a command line, as one checked model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from conf import scaling
from conf.checking import NETWORKS, validated
from conf.paths import GROUPS, check_path
from conf.schema.methods import METHODS
from conf.schema.model_recipe import PRETRAINED
from conf.schema.recipe import PRETRAINING, Recipe
from tasks.core.errors import ConfigError, nearest

M = TypeVar("M", bound=BaseModel)
FOLDER = Path(__file__).parent
SERVICES = FOLDER / "services.yaml"
SHORT = re.compile(r"^(\+*data\.clean\.rules(?:_by_source\.[^.=]+)?)=(?=[^{]+$)(?!null$)")
"""An override that names sets of rules and nothing else: spelled out, it can be followed by single thresholds."""

AMBIGUOUS = re.compile(r"Ambiguous value for argument '\+*+([^=]+)=(.*)'")
"""What Hydra says of commas in a value, of which it would make several runs."""
UNMERGED = re.compile(r"Could not override '\+*+([^']+)'\.?")
"""What Hydra says of several options that are given as one value, where some are not in the recipe yet."""


def recipes() -> list[str]:
    """The names of the recipes that are shipped."""
    return sorted(path.stem for path in (FOLDER / "recipe").glob("*.yaml"))


def compose(recipe: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe of that name, or in that YAML file, with KEY=VALUE overrides; raises `ConfigError`.

    A file may name another recipe to start from (`extends: text`) and groups to take (`model: demo`).
    """
    own: dict[str, Any] = {}
    base = recipe
    if recipe.endswith((".yaml", ".yml")):
        own = _read(Path(recipe))
        base = str(own.pop("extends", "demo"))
        own.setdefault("name", Path(recipe).stem)
    elif recipe not in recipes():
        raise ConfigError(
            f"there is no recipe {recipe!r}{nearest(recipe, recipes())} (or give the path of a YAML file)"
        )
    if base not in recipes():
        raise ConfigError(f"{recipe}: extends: there is no recipe {base!r}{nearest(base, recipes())}")
    groups = [f"{group}={own.pop(group)}" for group in GROUPS if isinstance(own.get(group), str)]
    for name, _, value in (group.partition("=") for group in groups):
        _check_group(name, value, f"{recipe}: ")
    _check_options(own, recipe)
    _spell_out(own)
    for override in overrides:
        _check_override(override)
    values = _compose(base, groups, own, tuple(SHORT.sub(r"\1.published=", override) for override in overrides))
    _take_kind(values, own, overrides)
    _leave_out(values, own, overrides)
    _leave_out_pretraining(values, overrides)
    places = scaling.set_aside(values)
    checked = validated(Recipe, values, recipe, overrides)
    if not places:
        return checked
    scaling.fill(checked, places)
    return validated(Recipe, values, recipe, overrides)


def _take_kind(values: Any, own: dict[str, Any], overrides: tuple[str, ...]) -> None:
    """Of a network or a method whose kind is not that of the recipe's base, let go what the base had to say and this
    kind does not know; what the recipe itself or an override says stays, to be refused."""
    models, named = values.get("models"), own.get("models")
    places: list[tuple[str, Any, Any, Mapping[str, type[BaseModel]]]] = [
        ("model", values.get("model"), own.get("model"), NETWORKS)
    ]
    for name, model in models.items() if isinstance(models, dict) else ():
        said = named.get(name) if isinstance(named, dict) else None
        method, mine = (one.get("method") if isinstance(one, dict) else None for one in (model, said))
        places.append((f"models.{name}.method", method, mine, METHODS))
    for path, options, mine, kinds in places:
        known = kinds.get(str(options.get("kind"))) if isinstance(options, dict) else None
        for name in [name for name in options if name not in known.model_fields] if known else ():
            given = any(
                option == f"{path}.{name}" or (option == path and re.search(rf"\b{name}\b", value))
                for option, _, value in (override.lstrip("+").partition("=") for override in overrides)
            )
            if not given and not (isinstance(mine, dict) and name in mine):
                del options[name]


def _leave_out(values: Any, own: dict[str, Any], overrides: tuple[str, ...]) -> None:
    """Let go of what a shipped recipe says of a model that the chosen group does not have (`models=none`)."""
    models, named = values.get("models"), own.get("models")
    paths = [override.lstrip("+").partition("=")[0].split(".") for override in overrides]
    given = {*(named if isinstance(named, dict) else ()), *(name for group, *names in paths if group == "models"
             for name in names[:1])}  # fmt: skip
    if isinstance(models, dict):
        for name in [name for name, model in models.items() if isinstance(model, dict) and "kind" not in model]:
            if name not in given:
                del models[name]


def _leave_out_pretraining(values: Any, overrides: tuple[str, ...]) -> None:
    """Let go of what shipped recipes and files say of pretraining where no model starts from it; raises `ConfigError`
    for an override of that, which would change nothing."""
    models = values.get("models")
    wanted = [model for model in models.values() if model is not None] if isinstance(models, dict) else []
    starts = [model.get("start", PRETRAINED) if isinstance(model, dict) else PRETRAINED for model in wanted]
    if not wanted or PRETRAINED in starts:
        return
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        if (group := name.partition(".")[0]) in PRETRAINING and value != "null":
            raise ConfigError(
                f"{override}: nothing in this recipe starts from what it pretrains, so it has no {group}: leave that "
                f"out, or set models.NAME.start={PRETRAINED}"
            )
    values.update(dict.fromkeys(PRETRAINING))


def _compose(base: str, groups: list[str], own: dict[str, Any], overrides: tuple[str, ...]) -> Any:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    chosen = [o for o in overrides if o.partition("=")[0] in GROUPS]
    values = [o if o.startswith(("+", "~")) else f"++{o}" for o in overrides if o not in chosen]
    try:
        with initialize_config_dir(str(FOLDER), version_base="1.3"):
            plain = hydra_compose("config", overrides=[f"recipe={base}", *groups, *chosen, *([] if own else values)])
            if own:
                with open_dict(plain):
                    plain.merge_with(OmegaConf.create(own))
                given = hydra_compose(overrides=values)
                with open_dict(plain):
                    plain.merge_with(given)
        _refuse_resolvers(OmegaConf.to_container(plain, resolve=False))
        return _without_stand_ins(OmegaConf.to_container(plain, resolve=True))
    except OverrideParseException as error:
        raise ConfigError(
            f"{error.override.lstrip('+')} cannot be read: put double quotes round what has special characters, as in "
            "'a.b=[\"~/notes\"]'"
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        said = str(error).splitlines()[0]
        if found := AMBIGUOUS.fullmatch(said):
            name, value = found.groups()
            said = f"{name}={value}: write {name}=[{value}] for a list, '{name}=\"{value}\"' for a text"
        elif found := UNMERGED.fullmatch(said):
            said = _one_by_one(found[1], overrides) or said
        raise ConfigError(said) from error


def _refuse_resolvers(values: Any, path: str = "") -> None:
    """Raise `ConfigError` for a value that is asked of anything but other options (`${name}`): a recipe comes from
    anywhere, and would take what the environment holds wherever it likes."""
    if isinstance(values, (dict, list)):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            _refuse_resolvers(value, f"{path}.{name}".lstrip("."))
    elif isinstance(values, str) and "${" in values and (asked := _resolver_in(values)):
        raise ConfigError(
            f"{path}: {asked} is not resolved in a recipe, which takes nothing from the environment and runs nothing: "
            "write the value itself, ${a.b} for that of option a.b, or, for a secret, the name of its variable in the "
            "option that ends in _env"
        )


def _resolver_in(text: str) -> str | None:
    """The first `${name:…}` in a text, however deep; a text that is none of OmegaConf's has none."""
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
    from omegaconf.grammar_parser import parse

    try:
        waiting = [parse(text)]
    except GrammarParseError:
        return None
    while waiting:
        node = waiting.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            return str(node.getText())
        waiting += list(getattr(node, "children", None) or ())
    return None


def _one_by_one(name: str, overrides: tuple[str, ...]) -> str | None:
    """What to say of options that were given together (NAME={a: 1, b: 2}) and that Hydra does not take so."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    whole = next((o for o in overrides if o.lstrip("+").startswith(f"{name}={{")), None)
    if whole is None:
        return None
    given = OverridesParser.create().parse_override(whole).value()
    return f"{whole}: give its options one by one, {' '.join(_flat(name, given))}"


def _flat(path: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [line for name, inner in value.items() for line in _flat(f"{path}.{name}", inner)]
    return [f"{path}={json.dumps(value) if isinstance(value, (list, bool)) or value is None else value}"]


def _without_stand_ins(values: Any) -> Any:
    """Where a recipe has sources of its own, those go that a shipped one only leaves room for: a kind and paths yet to
    be given."""
    data = values.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    if isinstance(sources, dict) and len(sources) > 1:
        data["sources"] = {name: source for name, source in sources.items() if not _is_room(source)} or sources
    return values


def _is_room(source: Any) -> bool:
    given = [value for name, value in source.items() if name != "kind"] if isinstance(source, dict) else []
    return bool(given) and all(value == "???" for value in given)


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"there is no file {path}, seen from {Path.cwd()}; recipes that need none: {', '.join(recipes())}"
        ) from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} must hold options (name: …, data: …), not {type(found).__name__}")
    return found


def _check_override(override: str) -> None:
    name, equals, value = override.lstrip("+~").partition("=")
    if not equals and not override.startswith("~"):
        raise ConfigError(f"{override!r} is not KEY=VALUE")
    if name in GROUPS and value and value[0] not in "{[" and value != "null":
        return _check_group(name, value)
    return check_path(name.split("."), override)


def _check_group(group: str, value: str, where: str = "") -> None:
    known = sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))
    if value not in known:
        raise ConfigError(f"{where}there is no {group} {value!r}{nearest(value, known)}")


def _check_options(options: dict[str, Any], where: str, path: tuple[str, ...] = ()) -> None:
    for name, value in options.items():
        check_path([*path, str(name)], where)
        if isinstance(value, dict):
            _check_options(value, where, (*path, str(name)))


def _spell_out(own: dict[str, Any]) -> None:
    """Write the sets of rules that a file names by `rules: gopher` in full, so that overrides can add to them."""
    data = own.get("data")
    clean = data.get("clean") if isinstance(data, dict) else None
    if not isinstance(clean, dict):
        return
    single = [place for by in ("source", "language") if isinstance(place := clean.get(f"rules_by_{by}"), dict)]
    for place, names in ((clean, ["rules"]), *((place, list(place)) for place in single)):
        for name in names:
            if isinstance(place.get(name), (str, list)):
                place[name] = {"published": place[name]}


def read_model(model: type[M], path: Path, overrides: tuple[str, ...] = ()) -> M:
    """One model in a YAML file, its top level changed by KEY=VALUE; raises `ConfigError`."""
    import yaml

    values = _read(path)
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals or name not in model.model_fields:
            raise ConfigError(f"{override}: no such option{nearest(name, sorted(model.model_fields))}")
        try:
            values[name] = yaml.safe_load(value)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise ConfigError(f"{override} cannot be read: {value!r} is no YAML value") from error
    for name in values:
        if name not in model.model_fields:
            raise ConfigError(f"{path} has no option {name!r}{nearest(str(name), sorted(model.model_fields))}")
    return validated(model, values, str(path))
