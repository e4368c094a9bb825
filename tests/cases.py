"""Small inputs that once went wrong, each of a kind: all texts are made up here, from a seed."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterable, Iterator
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
PERSONAL = {
    "我的邮箱是jinli@example.com，欢迎联系": "我的邮箱是<EMAIL>，欢迎联系",
    "请联系jinli@example.com谢谢": "请联系<EMAIL>谢谢",
    "メールはtaro@example.co.jpまで": "メールは<EMAIL>まで",
    "手机13812345678，座机010-62781234": "手机<PHONE>，座机<PHONE>",
    "电话+8613812345678": "电话<PHONE>",
    "телефон+7 495 123-45-67": "телефон<PHONE>",
    "卡号4111111111111111谢谢": "卡号<CARD>谢谢",
    "IP地址8.8.4.123的机器": "IP地址<IP>的机器",
    "ISBN 978-7-5086-1234-5": "ISBN 978-7-5086-1234-5",
    "1949年10月1日—1978.12.18": "1949年10月1日—1978.12.18",
}
"""Lines beside letters without spaces, and what is right to become of them."""
MARKER = "<|endoftext|>"


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


def footers(folder: Path) -> None:
    """400 letters of 40 lists: each list has a footer, each letter a text of its own."""
    ends = [prose(5000 + n, 6) for n in range(40)]
    write(folder / "docs.jsonl", [{"text": f"{prose(6000 + n, 6)}\n\n{ends[n % 40]}"} for n in range(400)])


def markers(folder: Path) -> None:
    """Prose in which a marker of the tokenizer is written out."""
    write(
        folder / "docs.jsonl",
        [{"text": f"{prose(n, 5)} The marker {MARKER} ends a text. {prose(n + 999, 5)}"} for n in range(300)],
    )


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


def sorted_labels(folder: Path) -> None:
    """Rows that stand by class, as files that were written class after class do."""
    rows = [{"text": prose(seed * 1000 + n, 4), "label": name}
            for seed, name in enumerate(("calm", "rough", "odd"), 1) for n in range(300)]  # fmt: skip
    write(folder / "docs.jsonl", rows)


def label_folders(folder: Path) -> None:
    """A folder for each class, a file for each text."""
    for seed, name in enumerate(("calm", "rough", "odd"), 1):
        (folder / name).mkdir(parents=True)
        for n in range(40):
            (folder / name / f"{n}.txt").write_text(prose(seed * 2000 + n, 4))


def lone_surrogate(folder: Path, field: str) -> None:
    """Twenty good rows and one with half a pair of surrogates in `field`."""
    good: list[Row] = [{"text": prose(n, 3), "label": "ab"[n % 2]} for n in range(20)]
    bad = json.dumps({"text": prose(20, 3), "label": "a", field: "HERE"}).replace("HERE", "\\ud83d")
    folder.mkdir(parents=True)
    (folder / "docs.jsonl").write_text("\n".join([*map(json.dumps, good), bad]) + "\n")


def nested(folder: Path) -> None:
    """Rows whose text is a list of paragraphs."""
    draw = random.Random(10)
    write(
        folder / "docs.jsonl",
        [
            {"id": f"{n:032x}", "title": sentence(draw), "paragraphs": [prose(n, 2), prose(n + 50, 2)]}
            for n in range(80)
        ],
    )


def encoded(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "text.txt").write_bytes((ENCODED[name] * 30).encode(name))


def one_odd(folder: Path) -> None:
    """500 files, of which one is in another encoding."""
    folder.mkdir(parents=True)
    for n in range(500):
        (folder / f"{n:03d}.txt").write_bytes(b"A caf\xe9 by the river. " * 9 if n == 450 else prose(n, 4).encode())


def endings(folder: Path) -> None:
    """Files with endings that corpora have: 41 documents, and a file about them."""
    folder.mkdir(parents=True)
    for n in range(4):
        with gzip.open(folder / f"part-{n:05d}.json.gz", "wt") as file:
            file.writelines(json.dumps({"text": prose(7000 + 10 * n + k, 4)}) + "\n" for k in range(10))
    write(folder / "more.ndjson", [{"text": prose(7100, 4)}])
    (folder / "README.md").write_text("What this corpus is.\n")


def names(folder: Path) -> None:
    """Two files, the name of one of which is no UTF-8."""
    folder.mkdir(parents=True)
    (folder / "plain.txt").write_text(prose(1, 8))
    with open(bytes(folder) + b"/caf\xe9.txt", "wb") as file:
        file.write(prose(2, 8).encode())


def personal(folder: Path) -> Iterator[tuple[str, str]]:
    """A document for each line of `PERSONAL`, among lines of its own; yields what stands in it and what is right."""
    rows = []
    for n, (line, right) in enumerate(PERSONAL.items()):
        before, after = prose(8000 + n, 4), prose(8500 + n, 4)
        rows.append({"text": f"{before}\n{line}\n{after}"})
        yield f"{before}\n{line}\n{after}", f"{before}\n{right}\n{after}"
    write(folder / "docs.jsonl", rows)
