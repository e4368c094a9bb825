"""Small inputs that once went wrong, each of a kind: all texts are made up here, from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]

WORDS = [a + b + c for a in "bcdfglmnprst" for b in "aeiou" for c in ("n", "r", "st", "lk", "m")]
LETTERS = {
    "han": [chr(code) for code in range(0x4E00, 0x5200)],
    "hiragana": [chr(code) for code in range(0x3042, 0x3094)],
    "thai": [chr(code) for code in range(0x0E01, 0x0E2F)],
}
"""Scripts in which no spaces are written between words."""
RUSSIAN = "Сегодня утром мы вышли к реке и долго смотрели на лёд. Вода шла медленно, и берег был тих. "
CHINESE = "今天早上我们走到河边，看了很久的冰。水流得很慢，岸上很安静。"
POLISH = "Dziś rano poszliśmy nad rzekę i długo patrzyliśmy na lód. Woda płynęła powoli, a brzeg był cichy. "
JAPANESE = "今朝、私たちは川まで歩いて、長い間氷を見ていました。水はゆっくり流れ、岸は静かでした。"
ENCODED = {
    "koi8-r": RUSSIAN, "cp1251": RUSSIAN, "utf-16": RUSSIAN, "gb18030": CHINESE, "shift_jis": JAPANESE,
    "iso8859-2": POLISH,
}  # fmt: skip
"""A text in each encoding, by its name in Python."""


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(6, 12))).capitalize() + "."


def prose(seed: int, sentences: int) -> str:
    draw = random.Random(seed)
    return " ".join(sentence(draw) for _ in range(sentences))


def unspaced(draw: random.Random, script: str, lines: int) -> str:
    """Lines of three clauses each in a script without spaces."""

    def clause() -> str:
        return "".join(draw.choice(LETTERS[script]) for _ in range(draw.randint(8, 16)))

    return "\n".join("，".join(clause() for _ in range(3)) + "。" for _ in range(lines))


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def pairs(folder: Path, script: str, number: int) -> None:
    """Near-duplicates: one character of some 300 is another one."""
    draw = random.Random(5)
    rows = []
    for pair in range(number):
        text = unspaced(draw, script, 8)
        place = draw.randrange(len(text))
        rows += [{"text": text, "pair": pair}, {"text": f"{text[:place]}改{text[place + 1 :]}", "pair": pair}]
    write(folder / "docs.jsonl", rows)


def quiz(folder: Path, script: str, asked: int, others: int) -> Path:
    """Documents that hold a whole text of a benchmark, among others; returns the benchmark."""
    draw = random.Random(6)
    questions = [unspaced(draw, script, 4) for _ in range(asked)]
    holding = [f"{unspaced(draw, script, 1)}\n{text}\n{unspaced(draw, script, 2)}" for text in questions]
    rows = [{"text": text} for text in (*holding, *(unspaced(draw, script, 7) for _ in range(others)))]
    write(folder / "docs/docs.jsonl", rows)
    return write(folder / "quiz.jsonl", [{"text": text} for text in questions])


CLOTHES: dict[str, Callable[[str], str]] = {
    "no full stops": lambda text: text.replace(".", ""),
    "spaced full stops": lambda text: text.replace(".", " ."),
    "capitals": str.upper,
    "a line for each sentence": lambda text: "\n".join(text.split(". ")),
    "curly quotes": lambda text: text.replace(" b", " “b").replace("n ", "n” "),
    "two spaces": lambda text: text.replace(" ", "  "),
    "other full stops": lambda text: text.replace(".", "!"),
}
"""Ways to write the same text."""


def clothes(folder: Path, number: int) -> None:
    """The same text twice, the second time in other clothes."""
    changes = [*CLOTHES.values()]
    texts = [prose(1000 + n, 20) for n in range(number)]
    write(
        folder / "docs.jsonl",
        [{"text": one} for n, text in enumerate(texts) for one in (text, changes[n % len(changes)](text))],
    )


def chain(folder: Path) -> None:
    """300 revisions of one page: neighbours are alike, the twelfth next not at all."""
    draw = random.Random(7)
    said = [sentence(draw) for _ in range(700)]
    write(folder / "docs.jsonl", [{"text": " ".join(said[n : n + 24])} for n in range(0, 600, 2)])


def talks(path: Path, speakers: tuple[tuple[str, str], ...], number: int) -> None:
    """Conversations of one question and one answer, as {role, content}."""
    draw = random.Random(8)
    rows = []
    for n in range(number):
        human, answer = speakers[n % len(speakers)]
        turns = [{"role": human, "content": sentence(draw)}, {"role": answer, "content": sentence(draw)}]
        rows.append({"messages": turns})
    write(path, rows)


def sharegpt(path: Path, number: int) -> None:
    """Conversations as {from, value}."""
    draw = random.Random(9)
    write(
        path,
        [
            {"conversations": [{"from": "human", "value": sentence(draw)}, {"from": "gpt", "value": sentence(draw)}]}
            for _ in range(number)
        ],
    )


def lone_surrogate(folder: Path, field: str) -> None:
    """Twenty good rows and one with half a pair of surrogates in `field`."""
    good: list[Row] = [{"text": prose(n, 3), "label": "ab"[n % 2]} for n in range(20)]
    bad = json.dumps({"text": prose(20, 3), "label": "a", field: "HERE"}).replace("HERE", "\\ud83d")
    folder.mkdir(parents=True)
    (folder / "docs.jsonl").write_text("\n".join([*map(json.dumps, good), bad]) + "\n")


def encoded(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "text.txt").write_bytes((ENCODED[name] * 30).encode(name))
