"""Suites of expectations: read from YAML, completed from the config, checked by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from conf.schema.validate import ExpectationConf
from tasks.core.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "conf" / "suites"
REFUSED = {
    "ExpectColumnQuantileValuesToBeBetween": "Great Expectations cannot store its result; use "
    "expect_column_values_to_be_between on p01, p50 or p99 of the statistics",
}


def read(path: Path, more: Iterable[ExpectationConf] = ()) -> tuple[ExpectationConf, ...]:
    """The expectations of a YAML file, and `more`, which take the place of their likes.

    Raises `ConfigError` for a file that is no list of expectations.
    """
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast; a plan reads suites, too
        listed = yaml.load(path.read_bytes(), loader)
    except (OSError, yaml.YAMLError) as error:
        raise _no_suite(str(path), error) from error
    return _completed(_checked(listed, str(path)), more)


def _checked(listed: Iterable[Any], where: str) -> list[ExpectationConf]:
    from pydantic import ValidationError

    try:
        return [ExpectationConf.model_validate(item) for item in listed]
    except (TypeError, ValidationError) as error:
        raise _no_suite(where, error) from error


def _no_suite(where: str, error: Exception) -> ConfigError:
    return ConfigError(f"{where} is no suite, a list of {{expectation, column, kwargs, severity, table}}: {error}")


def of_kinds(
    kinds: Iterable[str], more: Iterable[ExpectationConf] = (), brought: Mapping[str, Iterable[Any]] | None = None
) -> tuple[ExpectationConf, ...]:
    """The suite of collected documents: documents.yaml, for each kind of source completed from KIND.yaml and by what
    its module has `brought`, and `more`.

    What is the same for all `kinds` stands there once; else `kinds` of the expectation says for which it is.
    """
    present, own, base = sorted(set(kinds)), tuple(more), read(FOLDER / "documents.yaml")
    found: dict[str, tuple[ExpectationConf, list[str]]] = {}
    for kind in present:
        special = FOLDER / f"{kind}.yaml"
        asked = [wanted for wanted in own if not wanted.kinds or kind in wanted.kinds]
        own_ones = [*(read(special) if special.exists() else ()), *_checked((brought or {}).get(kind, ()), kind)]
        for wanted in _completed(base, [*own_ones, *asked]):
            common = wanted.model_copy(update={"kinds": ()})
            found.setdefault(common.model_dump_json(), (common, []))[1].append(kind)
    return tuple(
        wanted if who == present or wanted.table == "corpus" else wanted.model_copy(update={"kinds": tuple(who)})
        for wanted, who in found.values()
    )


def _completed(listed: Iterable[ExpectationConf], more: Iterable[ExpectationConf]) -> tuple[ExpectationConf, ...]:
    return tuple({_likeness(wanted): wanted for wanted in (*listed, *more)}.values())


def _likeness(wanted: ExpectationConf) -> tuple[Any, ...]:
    """Two expectations alike in this are one, of which the later counts: name, column or columns, table."""
    columns = [wanted.column, *(wanted.kwargs.get(name) for name in ("column_A", "column_B"))]
    return _plain(wanted.expectation), *columns, wanted.table


def class_name(expectation: str) -> str:
    """The name of the expectation's class; raises `ConfigError` with the nearest names for an unknown one."""
    import great_expectations.expectations as known

    names = [name for name in vars(known) if name.startswith("Expect") and name != "Expectation"]
    by_plain = {_plain(name): name for name in names}
    found = by_plain.get(_plain(expectation))
    if found is None:
        near = difflib.get_close_matches(_plain(expectation), by_plain, n=3, cutoff=0.5)
        offered = f"; nearest: {', '.join(snake(by_plain[name]) for name in near)}" if near else ""
        raise ConfigError(f"there is no expectation {expectation!r}{offered}")
    if found in REFUSED:
        raise ConfigError(f"{expectation}: {REFUSED[found]}")
    return found


def snake(name: str) -> str:
    """An expectation's name in snake case: ExpectColumnToExist → expect_column_to_exist."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
