"""Every regular expression that reads documents, found in the modules; and texts that are hostile to one of them."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from tests.test_layout import ROOT, files, label

ROOMS = tuple(
    f"tasks/{room}" for room in ("clean", "collect", "corpus", "formats", "text", "tokenize", "validate", "views")
)
"""Where documents are read, or shown."""
PYTHON = ("compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn")
"""Functions of re that take a pattern first."""
ANCHORED = ("match", "fullmatch")
"""Those that look at the beginning of a text only."""
POLARS = (
    "contains", "count_matches", "extract", "extract_all", "extract_groups", "find", "replace", "replace_all", "split",
)  # fmt: skip
"""Methods of polars' `.str` that take one."""
MADE: dict[tuple[str, str], Callable[[Mapping[str, Any]], Sequence[Any]]] = {
    ("tasks/clean/normalise.py", r"f'\\n{{{conf.max_blank_lines + 2},}}'"): lambda names: [r"\n{4,}"],
    ("tasks/clean/normalise.py", "pattern"): lambda names: [one for one, _ in names["_REPLACEMENTS"]],
    ("tasks/clean/pii.py", "kind.hint"): lambda names: [kind.hint for kind in names["KINDS"].values()],
    ("tasks/clean/rules.py", "'(' + '|'.join(map(re.escape, threshold)) + ')'"): lambda names: [r"(lorem ipsum|a\{)"],
    ("tasks/clean/rules.py", "pattern"): lambda names: [
        names["BULLET"],
        rf"(?:{names['ELLIPSIS']})\s*$",
        rf"[{names['ENDS']}]\s*$",
    ],
    ("tasks/clean/rules.py", """f"(?i)(?:{'|'.join(patterns)})" """): lambda names: [r"(?i)(?:\bthe\b|的)"],
    ("tasks/clean/lines.py", "phrases"): lambda names: ["lorem ipsum|a\\{"],
    ("tasks/collect/text_formats.py", "re.escape(delimiter) + '(?! )'"): lambda names: [",(?! )", "\t(?! )"],
    ("tasks/collect/places.py", r"_joined(runs, r'(?:(?!\.)[^/]+/)*')"): lambda names: [
        names["translate"](glob) for glob in ("**/*.txt", "*a*b*c*d*", "**/a/**/b/**/*", "a?[!b]*")
    ],
    ("tasks/text/encode.py", "'|'.join(firsts) or '(?!)'"): lambda names: ["<s>|</s>|<user>"],
}
"""Patterns that are made where they stand, by file and expression: what they are, or the like of them."""
NAMES_OF_FILES = ("tasks/collect/places.py",)
"""Where patterns are made that are held against whole names."""


@dataclass(frozen=True)
class Python:
    """A pattern of re, looked for everywhere in a text, or only from its beginning."""

    pattern: re.Pattern[Any]
    anchored: bool

    def __call__(self, text: str) -> None:
        looked: Any = text.encode("utf-8", "replace") if isinstance(self.pattern.pattern, bytes) else text
        for _ in () if self.anchored else self.pattern.finditer(looked):
            pass
        self.pattern.match(looked)
        self.pattern.fullmatch(looked)


@dataclass(frozen=True)
class Polars:
    """A pattern of polars, looked for everywhere in a text."""

    pattern: str

    def __call__(self, text: str) -> None:
        texts = pl.Series([text])
        texts.str.replace_all(self.pattern, "")
        texts.str.contains(self.pattern)


@dataclass(frozen=True)
class Found:
    """One pattern and where it stands."""

    where: str
    look: Python | Polars

    @property
    def written(self) -> str:
        """The pattern, as Python's re can read it, or nearly."""
        if isinstance(self.look, Python):
            pattern = self.look.pattern.pattern
            return pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
        plain = self.look.pattern
        for wide, char in RUST.items():
            plain = re.sub(wide, char, plain)
        return plain


RUST = {
    r"\\x\{([0-9a-f]{2})\}": r"\\x\1", r"\\p\{Ps\}": "(", r"\\p\{Pi\}": "«", r"\\p\{P\}": ".;", r"\\p\{M\}": "\u0301",
    r"\\p\{Nl?\}": "1", r"\\p\{Lu\}": "A", r"\\p\{L\w?\}": "aé", r"\\p\{(?:Thai|Lao)\}": "ท", r"\\p\{\w+\}": "中",
    r"&&\[\^[^\]]*\]": "", r"&&\[[^\]]*\]": "", r"(?<!\\)\[\[([^\]]*)\]": r"[\1",
}  # fmt: skip
"""What only Rust's regular expressions know, and characters of it."""


def everywhere() -> list[Found]:
    """The patterns of the rooms: compiled ones that a module holds, those given to re, those given to polars.

    Raises `LookupError` for a call whose pattern is made where it stands and that `MADE` does not know.
    """
    found: dict[tuple[type, Any, int], Found] = {}
    for path in [path for room in ROOMS for path in files(room)]:
        for one in _in_module(path):
            pattern = one.look.pattern
            plain, flags = (pattern, 0) if isinstance(pattern, str) else (pattern.pattern, pattern.flags)
            found.setdefault((type(one.look), plain, flags), one)
    return list(found.values())


def _in_module(path: Path) -> Iterator[Found]:
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    calls = [call for call in calls if _of_re(call) or _of_polars(call)]
    if not calls and "re" not in imported:
        return
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    held = {pattern for value in vars(module).values() for pattern in _compiled(value)}
    for name, value in vars(module).items():
        for pattern in _compiled(value):
            yield Found(
                f"{label(path)}:{name}", Python(pattern, value is pattern and _asked().get(name, {""}) <= set(ANCHORED))
            )
    for call in calls:
        for pattern in _worked_out(call.args[0], vars(module), f"{label(path)}:{call.lineno}"):
            if _of_polars(call):
                looks: Python | Polars = Polars(pattern)
            else:
                assert isinstance(call.func, ast.Attribute)
                compiled = pattern if isinstance(pattern, re.Pattern) else re.compile(pattern)
                if call.func.attr == "compile" and compiled in held:
                    continue
                looks = Python(compiled, call.func.attr in ANCHORED or label(path) in NAMES_OF_FILES)
            yield Found(f"{label(path)}:{call.lineno}", looks)


@cache
def _asked() -> dict[str, set[str]]:
    """The methods that are called on what has a name, anywhere, by the name."""
    found: dict[str, set[str]] = {}
    for path in [path for folder in ("conf", "flows", "tasks") for path in files(folder)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
                owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
                found.setdefault(owner, set()).add(node.attr)
    return found


def _of_re(call: ast.Call) -> bool:
    func = call.func
    return (
        isinstance(func, ast.Attribute) and func.attr in PYTHON and isinstance(func.value, ast.Name)
        and func.value.id == "re"
    )  # fmt: skip


def _of_polars(call: ast.Call) -> bool:
    func = call.func
    return (
        isinstance(func, ast.Attribute) and func.attr in POLARS and isinstance(func.value, ast.Attribute)
        and func.value.attr == "str" and bool(call.args) and not _literal(call, func.attr)
    )  # fmt: skip


def _literal(call: ast.Call, method: str) -> bool:
    said = {word.arg: ast.unparse(word.value) for word in call.keywords}
    return said.get("literal", str(method == "split")) == "True"


def _compiled(value: Any, deep: int = 3) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif deep and isinstance(value, Mapping):
        for inner in value.values():
            yield from _compiled(inner, deep - 1)
    elif deep and isinstance(value, (list, tuple)):
        for inner in value:
            yield from _compiled(inner, deep - 1)
    elif deep and dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _compiled(getattr(value, field.name), deep - 1)


def _worked_out(node: ast.expr, names: Mapping[str, Any], where: str) -> Sequence[Any]:
    for (file, made), known in MADE.items():
        if where.startswith(f"{file}:") and ast.dump(ast.parse(made.strip(), mode="eval").body) == ast.dump(node):
            return known(names)
    try:
        return [eval(compile(ast.Expression(node), where, "eval"), dict(names))]
    except NameError as error:
        raise LookupError(
            f"{where}: cannot work out the pattern {ast.unparse(node)} ({error}): make it of the module's constants, "
            "or say in MADE what it is"
        ) from error


LIKELY = "aZ0 .-_@/:(+é中ท"
"""Characters that classes are tried with."""


@dataclass(frozen=True)
class Hostile:
    """Some text and then the same again and again."""

    start: str
    unit: str
    end: str = "\n\x00"
    """What does not go on."""

    def __call__(self, length: int) -> str:
        """About so many characters of it, and the end."""
        return self.start + self.unit * (length // len(self.unit) + 1) + self.end


def hostile(found: Found) -> Iterator[Hostile]:
    """Texts that make a backtracking search go over the same characters again: of each repetition in the pattern, what
    stands before it and many rounds of it, alone, or together again and again."""
    alphabet = _alphabet(found.written)
    seen = set()
    for before, rounds in _repeats(_parsed(found.written), alphabet):
        for one in rounds:
            for unit, start in ((one, before), (before + one, ""), (one, ""), (before + one + one, one)):
                if unit and (unit, start) not in seen:
                    seen.add((unit, start))
                    yield Hostile(start, unit)
                    if unit.isspace():  # which a line end goes on with
                        yield Hostile(start, unit, "\x00")


def _parsed(written: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re._parser.parse(written)  # type: ignore[attr-defined]


def _alphabet(written: str) -> str:
    literal = [chr(int(str(code))) for code in _literals(_parsed(written))]
    return "".join(dict.fromkeys([*literal[:24], *LIKELY]))


def _literals(tree: Any) -> Iterator[int]:
    for operation, given in tree:
        if str(operation) in ("LITERAL", "NOT_LITERAL"):
            yield given
        elif str(operation) == "IN":
            for inner, code in given:
                if str(inner) == "LITERAL":
                    yield code
                elif str(inner) == "RANGE":
                    yield code[0]
        for branch in _inside(str(operation), given):
            yield from _literals(branch)


def _inside(operation: str, given: Any) -> list[Any]:
    """The patterns in one operation of a parsed pattern."""
    if operation == "BRANCH":
        return list(given[1])
    if operation.endswith("REPEAT"):
        return [given[2]]
    if operation == "SUBPATTERN":
        return [given[3]]
    if operation == "ATOMIC_GROUP":
        return [given]
    return [given[1]] if operation in ("ASSERT", "ASSERT_NOT") else []


def _repeats(tree: Any, alphabet: str, before: str = "") -> Iterator[tuple[str, list[str]]]:
    """(a text that comes to it, one round of it in several ways) for each repetition."""
    yield before, [before] if before else []
    for operation, given in tree:
        name = str(operation)
        if name.endswith("REPEAT"):
            ways = _ways(given[2], alphabet)
            yield before, list(dict.fromkeys([*ways, *("".join(pair) for pair in product(ways[:4], ways[:4]))]))
        if name not in ("ASSERT", "ASSERT_NOT"):
            for inner in _inside(name, given):
                yield from _repeats(inner, alphabet, before)
        before += (_ways([(operation, given)], alphabet) or [""])[0]
    yield before, [before]


def _ways(tree: Any, alphabet: str, most: int = 6) -> list[str]:
    """Some short texts that a pattern takes, roughly."""
    ways = [""]
    for operation, given in tree:
        name = str(operation)
        if name == "LITERAL":
            some = [chr(given)]
        elif name in ("IN", "ANY", "NOT_LITERAL"):
            some = _members(operation, given, alphabet)[:most]
        elif name == "BRANCH":
            some = [way for branch in given[1] for way in _ways(branch, alphabet)[:1]][:most]
        elif name.endswith("REPEAT"):
            least = min(int(given[0]), 40)
            some = [way * least for way in _ways(given[2], alphabet)] if least else ["", *_ways(given[2], alphabet)]
        elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
            some = _ways(_inside(name, given)[0], alphabet)
        else:
            some = [""]
        ways = [way + one for one in some or [""] for way in ways][:most]
    return ways


def _members(operation: Any, given: Any, alphabet: str) -> list[str]:
    state = re._parser.State()  # type: ignore[attr-defined]
    tree = re._parser.SubPattern(state, [(operation, given)])  # type: ignore[attr-defined]
    taken = re._compiler.compile(tree).fullmatch  # type: ignore[attr-defined]
    return [char for char in alphabet if taken(char)]


def seconds(look: Callable[[str], Any], text: str, rounds: int = 1) -> float:
    """CPU seconds that it takes, the least of some rounds."""
    took = []
    for _ in range(rounds):
        start = time.process_time()
        look(text)
        took.append(time.process_time() - start)
    return min(took)
