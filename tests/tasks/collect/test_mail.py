"""Mail as a reader sees it: parts, encodings, subjects, attachments, many messages in one file."""

from __future__ import annotations

import base64
import quopri
from email.message import EmailMessage
from pathlib import Path

from tasks.collect import mail
from tasks.collect.web import Limits
from tests.tasks.collect.conftest import Fetched

RUSSIAN = "Сегодня утром мы вышли к реке и долго смотрели на лёд. Вода шла медленно, и берег был тих."


def read(raw: bytes) -> dict[str, str]:
    values = mail.read(raw, "file", Limits(1, 9)).values
    assert values is not None
    return values


def test_the_plain_part_of_alternatives_is_taken_and_attachments_are_counted() -> None:
    message = EmailMessage()
    message["Subject"] = "Ein Gruß aus Köln"
    message.set_content("Plain words.\n")
    message.add_alternative("<p>Words in <b>HTML</b>.</p>", subtype="html")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="a.png")
    message.add_attachment("notes", filename="notes.txt")
    row = mail.read(message.as_bytes(), "file", Limits(1, 9))
    assert (row.values, row.attachments) == ({"text": "Plain words.", "title": "Ein Gruß aus Köln"}, 2)


def test_a_mail_of_html_alone_gives_its_words() -> None:
    page = b"Content-Type: text/html; charset=utf-8\nSubject: x\n\n"
    page += b"<html><style>p {}</style><p>Caf\xc3\xa9 &amp; tea</p></html>"
    assert read(page)["text"].strip() == "Café & tea"
    empty = b"Content-Type: multipart/alternative; boundary=b\nSubject: x\n\n--b\nContent-Type: text/plain\n\n \n"
    empty += b"--b\nContent-Type: text/html\n\n<p>Only here.</p>\n--b--\n"
    assert read(empty)["text"].strip() == "Only here."


def test_transfer_encodings_and_charsets_are_undone_even_where_they_are_named_wrongly() -> None:
    head = b"Subject: =?koi8-r?B?%s?= =?iso-8859-1?Q?caf=E9?=\nContent-Type: text/plain; charset=%s\n"
    head %= (base64.b64encode("Привет".encode("koi8-r")), b"%s")
    packed = {b"base64": base64.encodebytes, b"quoted-printable": quopri.encodestring, b"8bit": bytes}
    for way, pack in packed.items():
        for named in (b"koi8-r", b"utf-8", b"no-such-thing"):
            body = b"Content-Transfer-Encoding: " + way + b"\n\n" + pack((RUSSIAN * 4).encode("koi8-r"))
            found = read(head % named + body)
            assert (found["text"], found["title"]) == (RUSSIAN * 4, "Приветcafé")


def test_a_subject_in_raw_bytes_is_read_too() -> None:
    raw = b"Subject: " + RUSSIAN.encode("cp1251") + b"\n\nText.\n"
    assert read(raw) == {"text": "Text.", "title": RUSSIAN}


def test_an_mbox_gives_its_messages_and_a_line_that_begins_with_from_is_no_message(tmp_path: Path) -> None:
    one = b"From a@x.org Mon Jan  1 10:00:00 2001\nSubject: one\n\nFirst.\n\nFrom here on it rained.\n"
    one += b">From the river.\n\n"
    two = b"From b at x.org  Tue Jan  2 10:00:00 2001\nSubject: two\n\nSecond.\n"
    (tmp_path / "list.mbox").write_bytes(one + two)
    (tmp_path / "single.eml").write_bytes(b"Subject: three\n\nThird.\n")
    fetched = Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path)], title="title")
    assert [(row["uri"], row["text"]) for row in fetched.rows] == [
        ("list.mbox#1", "one\n\nFirst.\n\nFrom here on it rained.\nFrom the river."),
        ("list.mbox#2", "two\n\nSecond."),
        ("single.eml", "three\n\nThird."),
    ]


def test_what_is_no_mail_is_set_aside_and_a_digest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(
        b"\n\nnothing but words\n\nFrom a@x Mon Jan  1 10:00:00 2001\nSubject: a\n\nGood.\n"
    )
    fetched = Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path)], max_bad_rows=1)
    assert (fetched.texts, fetched.stats[0]["unreadable"]) == (["Good."], 1)
    digest = b"Subject: d\nContent-Type: multipart/digest; boundary=b\n\n"
    digest += b"--b\n\nSubject: x\n\nOne.\n--b\n\nSubject: y\n\nTwo.\n--b--\n"
    assert read(digest)["text"] == "One.\n\nTwo."
