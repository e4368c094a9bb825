"""An encoding is told from the bytes alone: many languages, few words, faults, and what is no text."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from tasks.collect import charsets
from tasks.collect.sources.files import FilesSource
from tests.tasks.collect.conftest import Fetched

SAID = {
    "russian": "Сегодня утром мы вышли к реке и долго смотрели на лёд. Вода шла медленно, и берег был тих. ",
    "ukrainian": "Сьогодні вранці ми вийшли до річки й довго дивилися на кригу. Її течія була повільна й тиха. ",
    "greek": "Σήμερα το πρωί βγήκαμε στο ποτάμι και κοιτάζαμε για πολλή ώρα τον πάγο. Το νερό κυλούσε αργά. ",
    "czech": "Dnes ráno jsme vyšli k řece a dlouho jsme se dívali na led. Voda plynula pomalu a břeh byl tichý. ",
    "polish": "Dziś rano wyszliśmy nad rzekę i długo patrzyliśmy na lód. Woda płynęła powoli, a brzeg był cichy. ",
    "hungarian": "Ma reggel kimentünk a folyóhoz, és sokáig néztük a jeget. A víz lassan folyt, a part csendes. ",
    "german": "Heute früh gingen wir zum Fluß und schauten lange auf das Eis. Das Ufer lag still, und es war schön. ",
    "french": "Ce matin, nous sommes allés à la rivière et nous avons regardé la glace, là où l'été a passé. ",
    "turkish": "Bu sabah nehre çıktık ve uzun süre buza baktık. Su yavaş akıyordu, kıyı sessizdi, ağaçlar çıplaktı. ",
    "chinese": "今天早上我们走到河边，看了很久的冰。水流得很慢，岸上很安静。",
    "traditional": "今天早上我們走到河邊，看了很久的冰。水流得很慢，岸上很安靜。",
    "japanese": "今朝、私たちは川へ出て、長いあいだ氷を見ていました。水はゆっくりと流れ、岸は静かでした。",
    "korean": "오늘 아침 우리는 강가로 나가 오랫동안 얼음을 바라보았다. 물은 천천히 흘렀고 강가는 조용했다. ",
}
IN = [
    ("russian", "koi8-r"), ("russian", "cp1251"), ("russian", "iso8859-5"), ("russian", "cp866"),
    ("ukrainian", "koi8-u"), ("ukrainian", "cp1251"), ("greek", "iso8859-7"), ("greek", "cp1253"),
    ("czech", "iso8859-2"), ("czech", "cp1250"), ("polish", "iso8859-2"), ("polish", "cp1250"),
    ("hungarian", "iso8859-2"), ("german", "cp1252"), ("german", "iso8859-1"), ("german", "cp850"),
    ("french", "cp1252"), ("french", "iso8859-1"), ("turkish", "iso8859-9"), ("chinese", "gb18030"),
    ("chinese", "gbk"), ("traditional", "big5"), ("japanese", "shift_jis"), ("japanese", "euc_jp"),
    ("japanese", "iso2022_jp"), ("korean", "euc_kr"), ("korean", "cp949"), ("russian", "utf-8-sig"),
    ("russian", "utf-16"), ("chinese", "utf-16-le"), ("french", "utf-16-be"), ("german", "utf-32"), ("french", "utf-8"),
]  # fmt: skip


@pytest.mark.parametrize("times", [2, 30])
@pytest.mark.parametrize(("language", "encoding"), IN)
def test_a_text_reads_as_it_was_written(language: str, encoding: str, times: int) -> None:
    said = f"{SAID[language]}\n" * times
    raw = said.encode(encoding)
    found = charsets.guess(raw)
    assert raw.decode(found.name).lstrip("\ufeff") == said, str(found)
    assert 0 < found.confidence <= 1


@pytest.mark.parametrize("encoding", ["koi8-r", "cp1251", "utf-16", "gb18030", "big5", "cp932", "euc_kr", "iso8859-2"])
def test_a_few_words_among_much_english_decide(encoding: str) -> None:
    asian = {"gb18030": "chinese", "big5": "traditional", "cp932": "japanese", "euc_kr": "korean"}
    language = {**asian, "iso8859-2": "polish"}.get(encoding, "russian")
    said = "A long line of plain English. " * 60_000 + SAID[language] * 3
    raw = said.encode(encoding)
    assert raw.decode(charsets.guess(raw).name) == said


def test_utf_8_with_a_few_faults_stays_utf_8_and_its_faults_are_named(tmp_path: Path) -> None:
    good = b"".join(b'{"text": "%s"}\n' % f"{n} {SAID['czech']}".encode() for n in range(9))
    (tmp_path / "a.jsonl").write_bytes(good + b'{"text": "caf\xe9"}\n')
    fetched = Fetched(tmp_path, kind="files", paths=[f"{tmp_path}/*.jsonl"], encoding="auto", max_bad_rows=1)
    assert (len(fetched.texts), fetched.texts[0]) == (9, f"0 {SAID['czech']}")
    assert fetched.stats[0]["encodings"] == {"utf-8": 1} and fetched.stats[0]["unreadable"] == 1


def test_each_file_of_a_source_has_its_own_encoding_which_is_recorded(tmp_path: Path) -> None:
    there = {"a": ("russian", "koi8-r"), "b": ("french", "cp1252"), "c": ("korean", "cp949"), "d": ("german", "utf-8")}
    for name, (language, encoding) in there.items():
        (tmp_path / f"{name}.txt").write_bytes(SAID[language].encode(encoding))
    fetched = Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path)], encoding="auto")
    assert fetched.texts == [SAID[language] for language, _ in there.values()]
    assert sum(fetched.stats[0]["encodings"].values()) == 4 and fetched.stats[0]["encodings"]["koi8-r"] == 1
    notes = (fetched.works[0].aux / "encodings.jsonl").read_text().splitlines()
    assert len(notes) == 4 and '"encoding": "koi8-r"' in notes[0]


def test_a_page_is_read_in_the_encoding_that_it_names_unless_it_does_not_fit(tmp_path: Path) -> None:
    body = "<p>" + SAID["czech"] * 6 + "</p>"
    for name, meta, encoding in (("a", "iso-8859-2", "iso8859-2"), ("b", "utf-8", "cp1250"), ("c", "", "cp1250")):
        page = f"<html><head><meta charset='{meta}'></head><body><article>{body} {name}</article></body></html>"
        (tmp_path / f"{name}.html").write_bytes(page.encode(encoding))
    texts = Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path)], encoding="auto").texts
    assert len(texts) == 3 and all("vyšli k řece" in text for text in texts)


def test_what_is_no_text_and_what_is_empty_come_as_utf_8() -> None:
    for raw in (b"", b"plain", b"\0\1\2\0" * 50, random.Random(1).randbytes(3000) + b"\0"):
        assert charsets.guess(raw).name == "utf-8"


def test_the_answer_does_not_hang_on_where_reading_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for language, encoding in (("chinese", "utf-8"), ("russian", "utf-8"), ("korean", "cp949"), ("russian", "cp1251")):
        raw = (SAID[language] * 40).encode(encoding)
        found = set()
        for chunk in (97, 1001, 1 << 20):
            monkeypatch.setattr(charsets, "CHUNK", chunk)
            found.add(raw.decode(charsets.of(lambda: io.BytesIO(raw)).name))  # noqa: B023
        assert found == {SAID[language] * 40}


def test_auto_is_an_encoding_and_a_made_up_one_is_not() -> None:
    assert FilesSource(kind="files", paths=("x",), encoding="AUTO").encoding == "auto"
    with pytest.raises(ValueError, match="no encoding that Python knows; auto"):
        FilesSource(kind="files", paths=("x",), encoding="klingon")
