"""Small inputs that once went wrong, each of a kind: all texts are made up here, from a seed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
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


def chain(folder: Path, kind: str) -> None:
    """300 revisions of one page: neighbours are alike, the twelfth next hardly. Each drops what is oldest (`spaced`,
    and `unspaced` in Chinese), or has other sentences in place of two (`edited`)."""
    draw = random.Random(7)
    said = [unspaced(draw, "han", 1) if kind == "unspaced" else sentence(draw) for _ in range(700)]
    page = said[: 28 if kind == "edited" else 24]
    pages = []
    for n in range(300):
        pages.append(page)
        if kind == "edited":
            place = 2 * n % len(page)
            page = [*page[:place], *said[28 + 2 * n : 30 + 2 * n], *page[place + 2 :]]
        else:
            page = said[2 * n + 2 : 2 * n + 26]
    write(folder / "docs.jsonl", [{"text": " ".join(page)} for page in pages])


def footers(folder: Path, kind: str) -> None:
    """400 letters of 40 lists, each letter with a text of its own: each list has a footer (`below`), or a notice above
    its letters (`above`), or a footer in Chinese beneath letters in Chinese (`unspaced`)."""
    draw = random.Random(11)
    if kind == "unspaced":
        lists, letters = [unspaced(draw, "han", 2) for _ in range(40)], [unspaced(draw, "han", 3) for _ in range(400)]
    else:
        lists, letters = [prose(5000 + n, 6) for n in range(40)], [prose(6000 + n, 6) for n in range(400)]
    pairs = [(lists[n % 40], letter)[:: 1 if kind == "above" else -1] for n, letter in enumerate(letters)]
    write(folder / "docs.jsonl", [{"text": "\n\n".join(pair)} for pair in pairs])


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


CLASSES = ("calm", "rough", "odd")


def sorted_labels(folder: Path, kind: str) -> None:
    """Rows that stand by class, as files that were written class after class do: 300 of each of three, in one file of
    JSON lines, or of tab-separated values, or in a compressed file of each class."""
    rows = [{"text": prose(seed * 1000 + n, 4), "label": name}
            for seed, name in enumerate(CLASSES, 1) for n in range(300)]  # fmt: skip
    if kind == "jsonl":
        write(folder / "docs.jsonl", rows)
        return
    folder.mkdir(parents=True)
    if kind == "tsv":
        (folder / "docs.tsv").write_text("".join(f"{row['text']}\t{row['label']}\n" for row in
                                                 [{"text": "text", "label": "label"}, *rows]))  # fmt: skip
    else:
        for name in CLASSES:
            with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows if row["label"] == name)


def label_folders(folder: Path, kind: str) -> None:
    """A folder for each class and a file for each text: plain, `packed`, or below folders of years (`deep`)."""
    for seed, name in enumerate(CLASSES, 1):
        for n in range(40):
            path = folder / (str(2000 + n % 3) if kind == "deep" else "") / name / f"{n}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = prose(seed * 2000 + n, 4)
            if kind == "packed":
                path.with_suffix(".txt.gz").write_bytes(gzip.compress(text.encode()))
            else:
                path.write_text(text)


def lone_surrogate(folder: Path, field: str) -> None:
    """Twenty good rows and one with half a pair of surrogates in `field`."""
    good: list[Row] = [{"text": prose(n, 3), "label": "ab"[n % 2]} for n in range(20)]
    bad = json.dumps({"text": prose(20, 3), "label": "a", field: "HERE"}).replace("HERE", "\\ud83d")
    folder.mkdir(parents=True)
    (folder / "docs.jsonl").write_text("\n".join([*map(json.dumps, good), bad]) + "\n")


NESTED: dict[str, Callable[[str, str], Row]] = {
    "list": lambda one, other: {"paragraphs": [one, other]},
    "list in a field": lambda one, other: {"body": {"paragraphs": [one, other], "words": 34}},
    "field in fields": lambda one, other: {"article": {"body": {"text": f"{one}\n\n{other}"}, "lang": "xx"}},
    "list of fields": lambda one, other: {"sections": [{"head": "One", "text": one}, {"head": "Two", "text": other}]},
}
"""Where rows may have their text."""


def nested(folder: Path, kind: str) -> None:
    """Rows whose text is deeper than a column."""
    draw = random.Random(10)
    write(
        folder / "docs.jsonl",
        [
            {"id": f"{n:032x}", "title": sentence(draw), **NESTED[kind](prose(n, 2), prose(n + 50, 2))}
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


ENDINGS = ("json.gz", "json", "ndjson.xz", "jsonl.bz2", "tsv.gz", "zip", "tar.gz")


def endings(folder: Path, ending: str) -> None:
    """Four files of ten documents with an ending that corpora have, one more document in a .ndjson, and a file about
    them."""
    folder.mkdir(parents=True)
    for n in range(4):
        texts = [prose(7000 + 10 * n + k, 4) for k in range(10)]
        packed(folder / f"part-{n:05d}.{ending}", texts)
    write(folder / "more.ndjson", [{"text": prose(7100, 4)}])
    (folder / "README.md").write_text("What this corpus is.\n")


def packed(path: Path, texts: list[str]) -> None:
    """A file of documents, in the form that its ending names: rows, or an archive of plain files."""
    packs = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for n, text in enumerate(texts):
                archive.writestr(f"{n}.txt", text)
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as tar:
            for n, text in enumerate(texts):
                member = tarfile.TarInfo(f"{n}.txt")
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    else:
        rows = [f"{text}\t{n}" for n, text in enumerate(texts)] if ".tsv" in path.suffixes else [
            json.dumps({"text": text}) for text in texts]  # fmt: skip
        head = ["text\tnumber"] if ".tsv" in path.suffixes else []
        path.write_bytes(packs.get(path.suffix, bytes)("\n".join([*head, *rows]).encode() + b"\n"))


NAMES = {"latin-1": b"caf\xe9.txt", "shift_jis": "\u8868.txt".encode("shift_jis"), "line break": b"two\nlines.txt"}
"""File names that a tool may stumble over."""


def names(folder: Path, kind: str) -> None:
    """Two files, one of an odd name."""
    folder.mkdir(parents=True)
    (folder / "plain.txt").write_text(prose(1, 8))
    with open(bytes(folder) + b"/" + NAMES[kind], "wb") as file:
        file.write(prose(2, 8).encode())


def personal(folder: Path) -> Iterator[tuple[str, str]]:
    """A document for each line of `PERSONAL`, among lines of its own; yields what stands in it and what is right."""
    rows = []
    for n, (line, right) in enumerate(PERSONAL.items()):
        before, after = prose(8000 + n, 4), prose(8500 + n, 4)
        rows.append({"text": f"{before}\n{line}\n{after}"})
        yield f"{before}\n{line}\n{after}", f"{before}\n{right}\n{after}"
    write(folder / "docs.jsonl", rows)
