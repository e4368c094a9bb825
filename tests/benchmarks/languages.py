"""What becomes of texts in several languages with no option given: `make bench-languages`.

`python -m tests.benchmarks.languages FOLDER`: FOLDER keeps Debian's translated documentation between calls, nothing of
which is committed. Near-duplicates and contaminations are planted by edits, and what is alike is measured by a
definition of its own, beside what the stages take for words.
"""

from __future__ import annotations

import gettext
import hashlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conf.schema.clean import CleanConf, DecontaminateConf, DedupConf
from tasks.clean.boilerplate import count, find
from tasks.clean.clean import Cleaner
from tasks.clean.clusters import cluster_shards
from tasks.clean.decontaminate import decontaminate
from tasks.clean.pii import scrub
from tasks.clean.signatures import sign
from tasks.formats.documents import DOCUMENTS, PARTS
from tests.benchmarks import corpus

RESULTS = Path(__file__).parent / "results"
PACKAGES = {
    "en": ("manpages-dev", "git-doc"),
    "zh": ("libreoffice-help-zh-cn", "debian-reference-zh-cn"),
    "ja": ("libreoffice-help-ja", "debian-reference-ja"),
    "ru": ("libreoffice-help-ru", "manpages-ru"),
    "th": ("libreoffice-l10n-th",),
    "ar": ("libreoffice-l10n-ar",),
}
SCRIPTS = {
    "en": r"[a-zA-Z]", "zh": r"\p{Han}", "ja": r"[\p{Han}\p{Hiragana}\p{Katakana}]", "ru": r"\p{Cyrillic}",
    "th": r"\p{Thai}", "ar": r"\p{Arabic}",
}  # fmt: skip
SPACELESS = ("zh", "ja", "th")
DOCS, PLANTED = 240, 30
"""Documents of a language, and how many of them get a copy of each kind."""
LIKE, UNLIKE = 0.8, 0.6
"""From where on a copy has to be found, and below which what is dropped is a false find."""
SAYS = {
    "en": "write to {}, thanks", "zh": "请联系{}谢谢", "ja": "連絡先は{}まで", "ru": "пишите на {}, спасибо",
    "th": "ติดต่อที่{}ได้", "ar": "اتصل على {} شكرا",
}  # fmt: skip
PHONES = {
    "en": "(212) 555-2368", "zh": "13812345678", "ja": "03-3224-9999", "ru": "+7 495 123-45-67",
    "th": "+66 2 123 4567", "ar": "+20 2 27361234",
}  # fmt: skip
PERSONAL = ("jin.li@example.com", "4111111111111111", "8.8.4.123", "GB82WEST12345698765432", "sk-" + "a1B2" * 8)
"""Items that mean the same everywhere: mail, card, address, IBAN, key; and a phone of the language."""

Edit = Callable[[str, random.Random, str], str]


def documents(folder: Path, lang: str) -> pl.DataFrame:
    """Different documents of a language, of 300 characters or more, mostly in its script."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, None] = {}
    for package in PACKAGES[lang]:
        place = folder / "unpacked" / package
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
            (deb,) = folder.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, place], check=True)
        files = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
        for path in sorted(files, key=lambda path: hashlib.sha256(path.name.encode()).digest()):
            if len(texts) > 3 * DOCS:
                break
            found = _messages(path) if path.suffix == ".mo" else corpus._pieces(corpus._text(path))
            texts |= dict.fromkeys(re.sub(r"\n\s*\n+", "\n\n", text).strip() for text in found)
    column = pl.Series("text", list(texts), dtype=pl.String)
    letters, own = (column.str.count_matches(pattern) for pattern in (r"\p{L}", SCRIPTS[lang]))
    chosen = column.filter((column.str.len_chars() >= 300) & (own > 0.5 * letters))
    return table(chosen.sample(min(DOCS, len(chosen)), seed=0).to_list(), lang)


def _messages(path: Path) -> Iterator[str]:
    """The longer messages of a program's translation, each once, some at a time as one document."""
    with path.open("rb") as file:
        said = gettext.GNUTranslations(file)._catalog.values()  # type: ignore[attr-defined]
    longer = [*dict.fromkeys(text for text in map(str, said) if len(text) > 40)]
    for first in range(0, len(longer), 12):
        yield "\n".join(longer[first : first + 12])


def table(texts: list[str], source: str) -> pl.DataFrame:
    rows = [
        {"id": hashlib.sha256(f"{source}\0{n}\0{text}".encode()).hexdigest()[:32], "text": text, "source": source}
        | {"uri": str(n), "licence": "various", "label": None, "messages": None}
        for n, text in enumerate(texts)
    ]
    return pl.DataFrame(rows, schema=DOCUMENTS)


def grams(text: str, lang: str) -> set[Any]:
    """Runs of five letters where no spaces are written, of five words elsewhere; in lower case, without punctuation."""
    bare = unpunctuated(text.lower())
    units = [*re.sub(r"\s", "", bare)] if lang in SPACELESS else bare.split()
    return set(zip(*(units[n:] for n in range(5)), strict=False))


def unpunctuated(text: str) -> str:
    """Without punctuation and symbols; marks on letters stay, which `\\w` would not have."""
    return "".join(char for char in text if unicodedata.category(char)[0] not in "PS")


def alike(one: str, other: str, lang: str) -> float:
    first, second = grams(one, lang), grams(other, lang)
    return len(first & second) / max(len(first | second), 1)


def _one_word(text: str, draw: random.Random, lang: str) -> str:
    words = [match.span() for match in re.finditer(r"\w" if lang in SPACELESS else r"\w+", text)]
    first, last = draw.choice(words)
    return text[:first] + ("改" if lang in SPACELESS else "altered") + text[last:]


def _one_sentence(text: str, draw: random.Random, lang: str) -> str:
    ends = [match.end() for match in re.finditer(r"[.!?。！？؟\n]+\s*", text)] or [len(text) // 2]
    place = draw.choice(ends)
    added = "".join(draw.choices([c for c in text if c.isalpha()], k=12))
    return text[:place] + (added if lang in SPACELESS else f"{added} {added[::-1]}") + "\n" + text[place:]


EDITS: dict[str, Edit] = {
    "punctuation": lambda text, draw, lang: unpunctuated(text),
    "quotes": lambda text, draw, lang: text.translate(str.maketrans({'"': "“", "'": "’", "「": "“", "」": "”"})) + "”",
    "white space": lambda text, draw, lang: re.sub(r"([.。,，、؟])\s*", r"\1\n\n", text).replace(" ", "  "),
    "case and width": lambda text, draw, lang: text.upper().translate({n: n + 0xFEE0 for n in range(0x30, 0x3A)}),
    "one word": _one_word,
    "one sentence": _one_sentence,
}


def duplicates(docs: pl.DataFrame, lang: str) -> dict[str, Any]:
    """Share of planted copies found by edit, of those at `LIKE` or more, and documents dropped that are `UNLIKE`."""
    draw, texts = random.Random(1), docs["text"].to_list()
    copies = [(edit, text, change(text, draw, lang)) for edit, change in EDITS.items() for text in _some(texts, draw)]
    copies = [copy for copy in copies if alike(copy[1], copy[2], lang) >= LIKE]
    found: dict[str, list[bool]] = {edit: [] for edit in EDITS}
    false = 0
    for edit in EDITS:
        planted = [copy for copy in copies if copy[0] == edit]
        both = table([*texts, *(copy[2] for copy in planted)], lang)
        drops, by_id = dropped(both), dict(both.select("id", "text").iter_rows())
        gone = {by_id[id_] for pair in drops for id_ in pair}
        found[edit] = [copy[2] in gone for copy in planted]
        false += sum(alike(by_id[one], by_id[other], lang) < UNLIKE for one, other in drops)
    shares = {edit: round(sum(hits) / max(len(hits), 1), 3) for edit, hits in found.items()}
    return {"recall": shares, "planted": len(copies), "false": false}


def _some(texts: list[str], draw: random.Random) -> list[str]:
    return draw.sample(texts, min(PLANTED, len(texts)))


def dropped(docs: pl.DataFrame) -> list[tuple[str, str]]:
    """Pairs (id, the one that stays)."""
    with TemporaryDirectory() as name:
        folder, conf = Path(name), DedupConf()
        sign(docs, "train", conf).write_parquet(folder / "s.parquet")
        for part in ("s", "accepted"):
            (folder / "out" / part).mkdir(parents=True)
        texts = {"s": lambda part: folder / f"{part}.parquet"}
        for part in PARTS:
            docs.head(docs.height if part == "train" else 0).select("id", "text").write_parquet(texts["s"](part))
        signed = {"s": folder / "s.parquet"}
        cluster_shards(signed, texts, None, (folder / "out").__truediv__, folder / "scratch", conf)
        return pl.read_parquet(folder / "out/s/drop.parquet").select("id", "kept_id").rows()


def contamination(docs: pl.DataFrame, lang: str) -> dict[str, Any]:
    """Share of evaluation texts found inside other documents, by edit, and other documents taken out."""
    draw, texts = random.Random(2), docs["text"].to_list()
    draw.shuffle(texts)
    held, rest = texts[: len(texts) // 5][:PLANTED], texts[len(texts) // 5 :]
    pieces = [text[:400].rsplit(" ", 1)[0] if lang not in SPACELESS else text[:200] for text in held]
    found, false = {}, 0
    for edit, change in EDITS.items():
        planted = [
            f"{before}\n{change(piece, draw, lang)}\n{after}"
            for piece, before, after in zip(pieces, rest, rest[::-1], strict=False)
        ]
        others = rest[len(planted) : -len(planted)]
        out = contaminated(table([*planted, *others], lang), table(pieces, "held out"))
        found[edit] = round(sum(text in out for text in planted) / len(planted), 3)
        known = [grams(piece, lang) for piece in pieces]
        strangers = [grams(text, lang) for text in others if text in out]
        false += sum(all(len(one & two) < 0.1 * len(two) for two in known) for one in strangers)
    return {"recall": found, "false": false}


def contaminated(train: pl.DataFrame, held: pl.DataFrame) -> set[str]:
    """The texts that leave the training side."""
    with TemporaryDirectory() as name:
        folder, conf = Path(name), DecontaminateConf()
        for part, frame in (("train", train), ("valid", train.clear())):
            (folder / part).mkdir()
            frame.write_parquet(folder / part / "docs.parquet")
        held.write_parquet(folder / "test.parquet")
        (folder / "s").mkdir()
        sets = [folder / "test.parquet"]
        count(lambda part: folder / part / "docs.parquet", sets, folder / "counts.parquet", conf)
        find({"s": folder / "counts.parquet"}, sets, folder.__truediv__, conf)
        decontaminate(
            lambda part: folder / part / "docs.parquet", sets, lambda part: folder / "out" / part / "docs.parquet",
            folder / "rejects.parquet", conf, folder / "s/common.parquet",
        )  # fmt: skip
        return set(pl.read_parquet(folder / "rejects.parquet")["text"])


def personal(lang: str) -> list[int]:
    """How many planted items are replaced, and of how many."""
    items = [*PERSONAL, PHONES[lang]]
    texts, _ = scrub(pl.Series([SAYS[lang].format(item) for item in items]), CleanConf().pii)
    return [sum(item not in text for item, text in zip(items, texts, strict=True)), len(items)]


def bytes_per_token(docs: pl.DataFrame) -> float:
    """Of a byte-level BPE of 8,192 tokens, on a fifth of the documents that it has not seen."""
    texts = docs["text"].to_list()
    seen, unseen = texts[len(texts) // 5 :], texts[: len(texts) // 5]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        seen, trainers.BpeTrainer(vocab_size=8192, initial_alphabet=alphabet, show_progress=False)
    )
    tokens = sum(len(found.ids) for found in tokenizer.encode_batch(unseen))
    return round(sum(len(text.encode()) for text in unseen) / max(tokens, 1), 2)


def measure(folder: Path, lang: str) -> dict[str, Any]:
    docs = documents(folder, lang)
    kept, _ = Cleaner(CleanConf()).clean(docs)
    left = kept.filter(~pl.col("id").is_in([id_ for id_, _ in dropped(kept)]))
    return {
        "language": lang,
        "documents": docs.height,
        "kept": round(kept.height / docs.height, 3),
        "near_duplicates": duplicates(left, lang),
        "contamination": contamination(left, lang),
        "personal_data": personal(lang),
        "bytes_per_token": bytes_per_token(left),
    }


def row(found: dict[str, Any]) -> str:
    """A line of the table in docs/figures.md."""

    def shares(of: dict[str, Any]) -> str:
        return " · ".join(f"{share:.2f}" for share in of["recall"].values())

    near, other, (hits, items) = found["near_duplicates"], found["contamination"], found["personal_data"]
    cells = [
        found["language"], f"{found['kept']:.1%} of {found['documents']:,}", shares(near), near["false"],
        shares(other), other["false"], f"{hits} of {items}", found["bytes_per_token"],
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main(folder: Path) -> None:
    """Measure, print the table, write results/languages.json."""
    about = {"device": f"{os.cpu_count()} cores, {platform.machine()}", "date": datetime.now(UTC).date().isoformat()}
    heads = ["language", "kept by default", "near-duplicates found", "false", "contamination found", "false"]
    print("| " + " | ".join([*heads, "personal data", "bytes per token"]) + " |\n" + "|---" * 8 + "|")
    rows = []
    for lang in PACKAGES:
        rows.append({**measure(folder, lang), **about})
        print(row(rows[-1]), flush=True)
    (RESULTS / "languages.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
