"""Personal data and secrets: found by pattern, checked where a checksum exists, replaced by a placeholder."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from conf.schema.clean import PiiKind

_TOKENS = (
    r"\b(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-)?[A-Za-z0-9_-]{20,}",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}",
    r"\bgithub_pat_[A-Za-z0-9_]{22,}",
    r"\bglpat-[A-Za-z0-9_-]{20,}",
    r"\bhf_[A-Za-z0-9]{30,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\bAIza[A-Za-z0-9_-]{35}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)-----END [A-Z ]*PRIVATE KEY-----",
)
_IPV4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
_IPV6 = r"(?<![\w:])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"


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


def phone(text: str) -> bool:
    """Whether a text has as many digits as a telephone number with its area code (at most 15, ITU-T E.164)."""
    return 9 <= sum(map(str.isdigit, text)) <= 15


def public_ip(text: str) -> bool:
    """Whether a text is an address that may be somebody's: globally routable (127.0.0.1 and 10.0.0.1 are nobody's), and
    no section or version number, which have fewer than seven digits or end in 0."""
    if ":" not in text and (sum(map(str.isdigit, text)) < 7 or text.endswith(".0")):
        return False
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


@dataclass(frozen=True)
class Kind:
    """One kind of personal data."""

    placeholder: str
    hint: str
    """A pattern that is quick and true of every text that has a hit."""
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None


KINDS: dict[PiiKind, Kind] = {
    "secret": Kind("<SECRET>", "|".join(_TOKENS), re.compile("|".join(_TOKENS))),
    "email": Kind(
        "<EMAIL>",
        r"[^\s@]@[A-Za-z0-9][A-Za-z0-9.-]*\.[A-Za-z]{2}",
        re.compile(r"\b[\w.%+-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"),
    ),
    "iban": Kind(
        "<IBAN>",
        "[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}",
        re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
        iban,
    ),
    "card": Kind(
        "<CARD>",
        r"[2-6]\d{12}|\d{4}[ -]\d{4}[ -]\d{4}|\d{4}[ -]\d{6}[ -]\d{4}",
        re.compile(
            r"(?<![\w.-])(?:[2-6]\d{12,18}|[2-6]\d{3}([ -])(?:\d{4}\1\d{4}\1\d{1,7}|\d{6}\1\d{4,5}))(?![\w-]|\.\d)"
        ),
        card,
    ),
    "phone": Kind(
        "<PHONE>",
        r"\+\d{1,7}[ .(-]|\+\d{9}|\d{3}\)? ?[.-]?\d{3}[.-]\d{4}",
        re.compile(
            r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){1,4}"
            r"|\+[1-9]\d{9,14}|(?:1[ .-])?\(\d{3}\) ?\d{3}[.-]\d{4}|(?:1[.-])?\d{3}([.-])\d{3}\1\d{4})(?![\w-]|\.\d)"
        ),
        phone,
    ),
    "ip": Kind(
        "<IP>",
        r"\d\.\d{1,3}\.\d{1,3}\.\d|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:",
        re.compile(f"{_IPV4}|{_IPV6}"),
        public_ip,
    ),
}


def scrub(texts: pl.Series, kinds: tuple[PiiKind, ...]) -> tuple[pl.Series, dict[str, int]]:
    """Replace personal data by placeholders, in the order of `kinds`; returns the texts and the number per kind."""
    counts: dict[str, int] = {}
    for name in kinds:
        kind = KINDS[name]
        rows = texts.str.contains(kind.hint).fill_null(False).arg_true()
        results = [_replace(text, kind) for text in texts.gather(rows)]
        counts[name] = sum(count for _, count in results)
        if counts[name]:
            texts = texts.clone().scatter(rows, pl.Series([text for text, _ in results], dtype=pl.String))
    return texts, counts


def _replace(text: str, kind: Kind) -> tuple[str, int]:
    hits = 0

    def choose(match: re.Match[str]) -> str:
        nonlocal hits
        found = kind.check is None or kind.check(match.group())
        hits += found
        return kind.placeholder if found else match.group()

    return kind.pattern.sub(choose, text), hits
