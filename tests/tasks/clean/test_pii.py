import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.clean.pii import KINDS, card, iban, luhn, public_ip, scrub

ALL = tuple(KINDS)


def scrubbed(text: str) -> str:
    return str(scrub(pl.Series("text", [text]), ALL)[0][0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jane.doe+x@mail.example.org.", "Write to <EMAIL>."),
        ("<a@b.de>, c_d@e-f.co.uk", "<<EMAIL>>, <EMAIL>"),
        ("ping 93.184.216.34!", "ping <IP>!"),
        ("at 93.184.216.34:8080", "at <IP>:8080"),
        ("host 2606:2800:220:1:248:1893:25c8:1946 up", "host <IP> up"),
        ("dns 2001:4860:4860::8888.", "dns <IP>."),
        ("call +49 30 123 45 67 now", "call <PHONE> now"),
        ("call +1 (808) 782-1557", "call <PHONE>"),
        ("mobile +491701234567", "mobile <PHONE>"),
        ("(808) 782-1557 or 808-782-1557 or 808.782.1557", "<PHONE> or <PHONE> or <PHONE>"),
        ("card 4111 1111 1111 1111 ok", "card <CARD> ok"),
        ("card 4111-1111-1111-1111, 5500005555555559, 378282246310005", "card <CARD>, <CARD>, <CARD>"),
        ("3782 822463 10005", "<CARD>"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN <IBAN>."),
        ("GB82WEST12345698765432", "<IBAN>"),
        ("key = sk-" + "a1B2" * 8, "key = <SECRET>"),
        ("ghp_" + "x" * 36, "<SECRET>"),
        ("AKIA" + "Q" * 16 + " aws", "<SECRET> aws"),
        ("hf_" + "abcdefghij" * 4, "<SECRET>"),
        ("xoxb-123456789012-abcdef", "<SECRET>"),
        ("AIza" + "b" * 35, "<SECRET>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "<SECRET>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nx", "<SECRET>\nx"),
    ],
)
def test_personal_data_become_placeholders(text: str, expected: str) -> None:
    assert scrubbed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "C = A@B.T and A @ B.conj()",
        "@property and @functools.wraps",
        "bound to 127.0.0.1, 0.0.0.0, 10.1.2.3 or 192.168.100.200",
        "section 7.4.7.1, release 5.10.0.0 and 1.2.3.4.5 and 300.168.100.200",
        "a[1::2], std::vector<int>, 12:30:45, ::1, fe80::1",
        "array([[0.808, 0.782, 0.1557], [1., 2., 3.]])",
        "numpy.random.default_rng(6981396440634228121)",
        "card 4111 1111 1111 1112 has a wrong digit",
        "0000000000000000 and 3.1415926535897932",
        "shape (808) 782 1557, dates 2020-01-02 and 1999-12-31",
        "DE89 3704 0044 0532 0130 01 is no IBAN",
        "skip-connection sk-learn hf_hub",
        "+10 200 30 and +12 34 are numbers, so is 1 +1000",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert scrubbed(text) == text


def test_replacements_are_counted_per_kind() -> None:
    texts = pl.Series("text", ["a@b.org and c@d.org", "93.184.216.34", None, "nothing"])
    cleaned, counts = scrub(texts, ALL)
    assert cleaned.to_list() == ["<EMAIL> and <EMAIL>", "<IP>", None, "nothing"]
    assert {kind: count for kind, count in counts.items() if count} == {"email": 2, "ip": 1}


def test_only_the_kinds_asked_for_are_replaced() -> None:
    texts = pl.Series("text", ["a@b.org 93.184.216.34"])
    assert scrub(texts, ("ip",))[0][0] == "a@b.org <IP>"
    assert scrub(texts, ())[0][0] == "a@b.org 93.184.216.34"


def test_checksums_are_those_of_the_standards() -> None:
    assert luhn("79927398713") and not luhn("79927398710")
    assert card("4222222222222") and not card("9111111111111111")
    assert iban("FR14 2004 1010 0505 0001 3M02 606") and not iban("FR14 2004 1010 0505 0001 3M02 607")
    assert public_ip("93.184.216.34") and not public_ip("192.168.1.20") and not public_ip("999.168.100.200")


@pytest.mark.parametrize("kind", ALL)
@given(data=st.data())
def test_the_hint_of_a_kind_is_true_of_every_hit(kind, data) -> None:
    pattern = re.compile(KINDS[kind].pattern.pattern, re.ASCII)
    text = data.draw(st.from_regex(pattern, fullmatch=True))
    assert pl.Series([text]).str.contains(KINDS[kind].hint)[0]


def test_the_series_given_is_left_as_it_was() -> None:
    texts = pl.Series("text", ["a@b.org"])
    scrub(texts, ALL)
    assert texts[0] == "a@b.org"
