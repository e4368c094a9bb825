"""Personal data and secrets: found by pattern, checked where a checksum exists, replaced by a placeholder.

Where writing changes from one script to another, a word ends: what stands between Han, Thai or Cyrillic letters is
found as between spaces. Only Latin letters, digits and _ beside it make it part of something longer.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from conf.schema.clean import DEFAULT_REGIONS, PiiKind
from tasks.clean import phones
from tasks.clean.patience import Patience

GLUE = r"A-Za-z0-9_\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff"
"""Characters that go on with a word or a number of Latin letters and digits, for a character class."""
_WIDE = "0123456789@+-.:_" + "abcdefghijklmnopqrstuvwxyz".upper() + "abcdefghijklmnopqrstuvwxyz"
FOLD = {ord(char) + 0xFEE0: char for char in _WIDE} | {
    start + digit: str(digit) for start in (0x660, 0x6F0) for digit in range(10)
}
"""What is written in full width, and Arabic digits, in ASCII: one character for one."""
FOLDED = r"[\uFF10-\uFF19\uFF21-\uFF3A\uFF41-\uFF5A\uFF20\uFF0B\u0660-\u0669\u06F0-\u06F9]"
"""Texts to fold have one of these."""

_TOKENS = (
    r"(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-)?[A-Za-z0-9_-]{20,}",
    r"gh[pousr]_[A-Za-z0-9]{36,}",
    r"github_pat_[A-Za-z0-9_]{22,}",
    r"glpat-[A-Za-z0-9_-]{20,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"xox[abprs]-[A-Za-z0-9-]{10,}",
)
_WEB_TOKEN = r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
_SHORT_WEB_TOKEN = r"eyJ[A-Za-z0-9_-]{10,1000}+\.[A-Za-z0-9_-]{10,16000}+\.[A-Za-z0-9_-]{10,}"
"""The same with a limit, without which each of many beginnings would be gone on from to the end."""
_NO_POINT = r"(?:(?<!\.)|(?<=[^\W\d_]\.))"
"""Not after a decimal point; after one that ends an abbreviation."""
_BEGINS = r"(?:^|[^0-9A-Za-z_+/. -]|(?:^|[^0-9]) |\p{L}\.)"
"""What may stand before a national number, for a hint: columns of figures have few."""
_AWS = r"(?:AKIA|ASIA)[A-Z0-9]{16}"
_KEY_BEGIN, _KEY_END = (rf"-----{word} [A-Z ]*PRIVATE KEY-----" for word in ("BEGIN", "END"))
_KEY = rf"{_KEY_BEGIN}(?s:.*?){_KEY_END}"
_BEGINNING, _ENDING = re.compile(_KEY_BEGIN), re.compile(_KEY_END)
_IPV4 = rf"(?<![{GLUE}.])(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}(?![{GLUE}]|\.[0-9])"
_IPV6 = rf"(?<![{GLUE}:])[23][0-9A-Fa-f]{{3}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}(?![{GLUE}:])"

_SPACED = r"\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u0590-\u05ff\u0600-\u065f\u066e-\u06ef\u0900-\u0d7f\u10a0-\u10ff"
"""Letters of scripts with spaces beside Latin: Greek, Cyrillic, Armenian, Hebrew, Arabic, Indic, Georgian."""
_DENSE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Letters of scripts in which words touch each other, or particles the word: Thai, Lao, Burmese, Khmer, Japanese,
Chinese, Korean."""
_LATIN = GLUE.replace("_", "")
_DOMAIN = rf"(?:[{_LATIN}][{_LATIN}-]*+(?<!-)\.)+[A-Za-z]{{2,24}}(?![{GLUE}])"
_OTHER_DOMAIN = rf"(?:[{_LATIN}{_SPACED}][{_LATIN}{_SPACED}-]*+(?<!-)\.)+[{_SPACED}]{{2,24}}(?![{GLUE}{_SPACED}])"
_DENSE_DOMAIN = (
    rf"(?:[{_LATIN}{_DENSE}]{{1,12}}\.)+(?:中国|中國|公司|网络|網絡|网址|在线|商城|香港|台湾|台灣|한국|ไทย|みんな)"
)
_LOCAL = 128
"""Characters before an @, twice what RFC 5321 allows: without a limit each of many beginnings would be gone on from to
the end."""
_EMAIL = "|".join(
    (
        rf"(?<![{GLUE}])(?<![{GLUE}][.%+-])[{GLUE}][{GLUE}.%+-]{{0,{_LOCAL}}}+@(?:{_DOMAIN}|{_OTHER_DOMAIN}|{_DENSE_DOMAIN})",
        rf"(?<![{GLUE}{_SPACED}.%+-])[{_SPACED}][{_SPACED}0-9_.%+-]{{0,{_LOCAL}}}+@(?:{_OTHER_DOMAIN}|{_DOMAIN})",
        rf"(?<![{GLUE}{_SPACED}{_DENSE}.%+-])[{_DENSE}]{{1,6}}[0-9]{{0,4}}@{_DENSE_DOMAIN}",
    )
)
"""A local part of Latin letters begins where they begin, so that it takes nothing of what is written before it in
another script; one of letters of a script with spaces likewise. In a script without, where words touch, it must stand
alone and be short."""

_ADDRESS = re.compile(
    r"(?<![a-z])(?:ips?|ipv4|addr(?:ess)?|adresse?|host|server|dns|ping)(?![a-z])"
    r"|地址|主机|主機|服务器|伺服器|アドレス|サーバ|주소|서버|адрес|сервер|хост|ที่อยู่|عنوان|خادم",
    re.IGNORECASE,
)
"""Words before which four small numbers are an address, and no version."""
NEAR = 16
"""Characters before an address in which such a word counts."""


_CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|(?:6011|64[4-9]\d|65\d\d|35\d\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|62\d{14,17}"
)
"""Digits of Visa, Mastercard, American Express, Discover, JCB, Diners Club, UnionPay (ISO/IEC 7812 issuer ranges)."""


def luhn(digits: str) -> bool:
    """Whether digits pass Luhn's check (ISO/IEC 7812-1, annex B)."""
    numbers = [int(char) for char in reversed(digits)]
    doubled = (sum(divmod(2 * number, 10)) for number in numbers[1::2])
    return (sum(numbers[::2]) + sum(doubled)) % 10 == 0


def card(text: str) -> bool:
    """Whether a text (spaces and hyphens are skipped) is a number that a card issuer could have given out."""
    digits = re.sub(r"[ -]", "", text)
    return _CARD.fullmatch(digits) is not None and luhn(digits)


def iban(text: str) -> bool:
    """Whether a text (spaces are skipped) passes the mod-97 check of an IBAN (ISO 13616)."""
    plain = text.replace(" ", "").upper()
    number = "".join(str(int(char, 36)) for char in plain[4:] + plain[:4])
    return 15 <= len(plain) <= 34 and int(number) % 97 == 1


def public_ip(text: str, named: bool = False) -> bool:
    """Whether a text is an address that may be somebody's: globally routable (127.0.0.1 and 10.0.0.1 are nobody's), and
    no section or version number, which end in 0 or, unless the text before has `named` them so, have fewer than seven
    digits."""
    if ":" not in text and (text.endswith(".0") or (not named and sum(map(str.isdigit, text)) < 7)):
        return False
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _address(match: re.Match[str]) -> bool:
    before = match.string[max(0, match.start() - NEAR) : match.start()]
    return public_ip(match.group(), _ADDRESS.search(before) is not None)


def _whole(check: Callable[[str], bool]) -> Callable[[re.Match[str]], bool]:
    return lambda match: check(match.group())


@dataclass(frozen=True)
class Kind:
    """One kind of personal data."""

    placeholder: str
    hint: str
    """A pattern that is quick and true of every text that has a hit."""
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], bool] | None = None
    keys: bool = False
    """Whether blocks of private keys are of this kind too."""


KINDS: dict[PiiKind, Kind] = {
    "secret": Kind(
        "<SECRET>",
        "|".join((*_TOKENS, _WEB_TOKEN, _AWS, _KEY)),
        re.compile(rf"(?<![{GLUE}])(?:{'|'.join((*_TOKENS, _SHORT_WEB_TOKEN))}|{_AWS}(?![{GLUE}]))"),
        keys=True,
    ),
    "email": Kind("<EMAIL>", r"[^\s@]@[^\s@.][^\s@]*\.[^\s@.]{2}", re.compile(_EMAIL)),
    "iban": Kind(
        "<IBAN>",
        "[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}",
        re.compile(rf"(?<![{GLUE}])[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?![{GLUE}])"),
        _whole(iban),
    ),
    "card": Kind(
        "<CARD>",
        r"[2-6][0-9]{12}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4}",
        re.compile(
            rf"(?<![{GLUE}.-])(?:[2-6][0-9]{{12,18}}|[2-6][0-9]{{3}}([ -])(?:[0-9]{{4}}\1[0-9]{{4}}\1[0-9]{{1,7}}"
            rf"|[0-9]{{6}}\1[0-9]{{4,5}}))(?![{GLUE}-]|\.[0-9])"
        ),
        _whole(card),
    ),
    "phone": Kind(
        "<PHONE>",
        rf"{'|'.join((*phones.ABROAD, phones.AMERICAN))}|{_BEGINS}(?:{'|'.join(phones.WRITTEN)})(?:$|[^0-9A-Za-z_-])",
        re.compile(
            rf"(?<![{GLUE}+-]){_NO_POINT}(?:{'|'.join((*phones.ABROAD, phones.AMERICAN))})(?![{GLUE}-]|\.[0-9])"
            rf"|(?<![{GLUE}+/-])(?<![0-9] ){_NO_POINT}(?:{'|'.join(phones.WRITTEN)})(?![{GLUE}-]|[ ./:][0-9])"
        ),
    ),
    "ip": Kind(
        "<IP>",
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:",
        re.compile(f"{_IPV4}|{_IPV6}"),
        _address,
    ),
}


def scrub(
    texts: pl.Series,
    kinds: tuple[PiiKind, ...],
    regions: tuple[str, ...] = DEFAULT_REGIONS,
    patience: Patience | None = None,
) -> tuple[pl.Series, dict[str, int]]:
    """Replace personal data by placeholders, in the order of `kinds`, telephone numbers in the national forms of
    `regions`; returns the texts, those that were given up as they were, and the number per kind."""
    patience = patience or Patience()
    counts: dict[str, int] = dict.fromkeys(kinds, 0)
    foreign = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(False).arg_true()
    wide = foreign.filter(texts.gather(foreign).str.contains(FOLDED))
    folded = _with(texts, wide, [fold(text) for text in texts.gather(wide)])
    for name in kinds:
        kind = KINDS[name]
        check = phones.Phones(regions) if name == "phone" else kind.check
        rows = folded.str.contains(kind.hint).fill_null(False).arg_true()
        found = zip(rows, texts.gather(rows), folded.gather(rows), strict=True)
        results = [patience(row, (text, 0), _replace, text, plain, kind, check) for row, text, plain in found]
        counts[name] = sum(count for _, count in results)
        if counts[name]:
            texts = _with(texts, rows, [text for text, _ in results])
            folded = _with(folded, rows, [fold(text) for text, _ in results])
    return texts, counts


def _with(texts: pl.Series, rows: pl.Series, new: list[str]) -> pl.Series:
    return texts.clone().scatter(rows, pl.Series(new, dtype=pl.String)) if new else texts


def fold(text: str) -> str:
    """The text with letters, digits and signs of full width, and Arabic digits, in ASCII, each in its place."""
    return text if text.isascii() else text.translate(FOLD)


def _replace(text: str, folded: str, kind: Kind, check: Callable[[re.Match[str]], bool] | None) -> tuple[str, int]:
    pieces, end, hits = list[str](), 0, 0
    for start, after in _hits(folded, kind, check):
        pieces += [text[end:start], kind.placeholder]
        end, hits = after, hits + 1
    return "".join([*pieces, text[end:]]), hits


def _hits(text: str, kind: Kind, check: Callable[[re.Match[str]], bool] | None) -> Iterator[tuple[int, int]]:
    """Where each hit begins and ends."""
    at = 0
    for start, end in [*(_keys(text) if kind.keys else ()), (len(text), len(text))]:
        for match in kind.pattern.finditer(text, at, start):
            if check is None or check(match):
                yield match.span()
        if end > start:
            yield start, end
        at = end


def _keys(text: str) -> Iterator[tuple[int, int]]:
    """Blocks of private keys. One pattern for a whole block would look from every beginning for an end in vain."""
    at = 0
    while (begin := _BEGINNING.search(text, at)) and (end := _ENDING.search(text, begin.end())):
        yield begin.start(), end.end()
        at = end.end()
