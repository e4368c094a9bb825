"""The encoding that a page names."""

from __future__ import annotations

import pytest

from tasks.collect.web import decoded


@pytest.mark.parametrize(
    ("raw", "header", "text"),
    [
        (b"\xef\xbb\xbf\xc3\xa9", "text/html; charset=latin-1", "é"),
        ("é".encode("utf-16"), "", "é"),
        (b"\xe9\x80", 'text/html; charset="ISO-8859-1"', "é€"),
        (b"<meta charset='windows-1251'>\xe9", "text/html", "<meta charset='windows-1251'>й"),
        (b"<meta charset=nonsense>\xc3\xa9", "text/html; charset=base64", "<meta charset=nonsense>é"),
        (b"\xc3\xa9", "text/html; charset=idna", "é"),
        (b"a\xffb", "", "a\ufffdb"),
    ],
)
def test_mark_then_header_then_meta_then_what_the_source_says(raw: bytes, header: str, text: str) -> None:
    assert decoded(raw, header, "utf-8") == text
