"""Telephone numbers as people write them: with +, or in the national form of some regions.

What looks like a number is held against libphonenumber's plans: its digits, and the groups in which it is written. A
number in other groups than its plan has needs a word for telephones before it; a run of digits that is nothing but
digits such a word, or the region's script around it. After a word for another number (order, ISBN) it is that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.core.errors import ConfigError, nearest

WRITTEN = (
    r"0[1-9][0-9]{0,4}[ /-][0-9]{2,8}(?:[ -][0-9]{2,8}){0,3}",
    r"0[1-9](?:\.[0-9]{2}){4}",
    r"0[1-9][0-9]{8,9}",
    r"[(（]0[1-9][0-9]{0,4}[)）][ -]?[0-9]{2,8}(?:[ -][0-9]{2,8}){0,3}",
    r"0[1-9][0-9]{0,3}[(（][0-9]{1,4}[)）][0-9]{4}",
    r"1[3-9][0-9](?:[ -]?[0-9]{4}){2}",
    r"400[ -][0-9]{3}[ -][0-9]{4}",
    r"8[ -]?[(（]?[0-9]{3,5}[)）]?[ -]?[0-9]{1,3}(?:[ -]?[0-9]{2}){2}",
    r"[(（][0-9]{3,4}[)）] ?[0-9]{2,3}-[0-9]{2}-[0-9]{2}",
)
"""National forms: area code and number, in pairs with dots, digits only, (area) number, area(exchange)number, mobiles
of CN, its service numbers, forms of RU with and without 8. Python's and Rust's regular expressions read them alike."""
ABROAD = (
    r"\+[1-9][0-9]{9,14}",
    r"\+[0-9]{1,3}[ .-]?(?:\([0-9]{1,4}\)[ .-]?)?[0-9]{2,4}(?:[ .-][0-9]{2,4}){1,4}",
    r"\+[1-9][0-9]{0,2}[ -]?[(（][0-9]{1,5}[)）][ -]?[0-9]{1,9}(?:[ /-][0-9]{2,9}){0,4}",
    r"\+[1-9][0-9]{0,2}(?:[ /-][0-9]{1,10}){1,5}",
)
"""Forms with the country's code. The first two need only as many digits as a telephone number has."""
AMERICAN = (
    r"(?:1[ .-])?\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[.-][0-9]{4}"
    r"|(?:1[.-])?[2-9][0-9]{2}(?:-[2-9][0-9]{2}-|\.[2-9][0-9]{2}\.)[0-9]{4}"
)
"""The North American form, which needs no plan: neither area nor exchange begins with 0 or 1."""
LOOSE = re.compile("|".join(ABROAD[:2]))
_AMERICAN = re.compile(AMERICAN)
_DATE = re.compile(r"[0-9]{1,2}([ /-])[0-9]{1,2}\1(?:19|20)[0-9]{2}|^[0-9]{6} (?:19|20)[0-9]{2}$")
"""Dates, and an article's number with its year."""
_WORD = re.compile(
    r"(?<![a-zà-ÿ])(?:tel|tél|phone|mobil|portable|cell|fax|handy|whatsapp|sms|call|appel|ruf|dial|hotline)"
    r"|тел|моб|звон|факс|手机|手機|电话|電話|座机|热线|熱線|传真|携帯|携带|전화|연락|휴대|핸드폰|팩스|โทร|เบอร์|มือถือ"
    r"|هاتف|جوال|موبايل|اتصل|تلفون|טלפון|נייד|τηλ",
    re.IGNORECASE,
)
"""Words that stand before telephone numbers."""
_OTHER = re.compile(
    "|".join(
        (
            r"(?<![a-z])(?:order|invoice|ticket|tracking|serial|article|part|account|case)[ -]?(?:no\b|num|id\b|#)",
            r"(?<![a-z])(?:isbn|issn|doi)",
            r"(?:bestell|auftrags|rechnungs|kunden|artikel|sendungs|serien|konto|vertrags)[ -]?(?:nr|nummer)",
            r"(?:commande|facture|dossier|colis|article|client|compte|série) ?n[°ºo]",
            r"num[ée]ro (?:de |d’|d')(?:commande|facture|dossier|colis|article|client|compte|série)",
            r"(?:заказ|сч[её]т|договор|накладн|квитанц)\w{0,12}+ ?(?:№|n)|артикул",
            r"номер\w{0,4}+ (?:заказ|сч[её]т|договор|накладн|квитанц)",
            r"(?:[订訂]单|訂單|运单|運單|快[递遞]|发票|發票|[产產]品|序列|货|貨|编|編|单|單|型|书|書)[号號]",
            r"(?:注文|受付|会員|管理|製造|伝票|追跡|口座|整理)番号|品番|型番",
            r"(?:주문|송장|접수|운송장|제품|계좌|일련) ?번호",
            r"(?:หมายเลข|เลขที่|รหัส) ?(?:คำสั่งซื้อ|ใบสั่งซื้อ|ใบแจ้งหนี้|พัสดุ|สินค้า)",
            r"رقم (?:الطلب|الفاتورة|الشحنة|المرجع|الحساب|العقد)",
        )
    ),
    re.IGNORECASE,
)
"""Words that stand before numbers of orders, invoices, parcels, accounts, articles and books."""
_HAN = r"\u3400-\u9fff\U00020000-\U000323af"
SCRIPTS = {
    "CN": re.compile(f"[{_HAN}]"),
    "HK": re.compile(f"[{_HAN}]"),
    "TW": re.compile(f"[{_HAN}]"),
    "JP": re.compile(f"[{_HAN}\u3040-\u30ff]"),
    "KR": re.compile("[\uac00-\ud7af\u1100-\u11ff]"),
    "RU": re.compile("[\u0400-\u052f]"),
    "TH": re.compile("[\u0e00-\u0e7f]"),
}
"""The script of a region, where it tells the region."""
BEFORE, AROUND = 20, 8
"""Characters in which a word for telephones, or a letter of the region's script, stands beside a run of digits."""


class Phones:
    """Says of what looks like a telephone number whether it is one, in the forms of some regions (ISO 3166)."""

    def __init__(self, regions: Sequence[str]) -> None:
        """Raises `ConfigError` for a region without telephone numbers."""
        import phonenumbers

        known = phonenumbers.SUPPORTED_REGIONS
        if unknown := sorted(set(regions) - known):
            raise ConfigError(
                f"data.clean.phone_regions names {', '.join(unknown)}, whose telephone numbers are not known"
                f"{nearest(unknown[0], sorted(known))}"
            )
        self.regions = tuple(regions)

    def __call__(self, match: re.Match[str]) -> bool:
        """Whether a match of the forms above is a telephone number where it stands."""
        text = match.group()
        digits = sum(map(str.isdigit, text))
        if not 9 <= digits <= 15 or _DATE.search(text):
            return False
        if text.startswith("+"):
            return LOOSE.fullmatch(text) is not None or self._planned(text, None)
        before = match.string[max(0, match.start() - BEFORE) : match.start()]
        word, other = (_last(pattern, before) for pattern in (_WORD, _OTHER))
        if other > word:
            return False
        if "US" in self.regions and _AMERICAN.fullmatch(text):
            return True
        named, plain = word >= 0, digits == len(text)
        around = before[-AROUND:] + match.string[match.end() : match.end() + AROUND]
        return any(
            self._planned(text, region)
            for region in self.regions
            if named or (region in SCRIPTS and SCRIPTS[region].search(around) if plain else _grouped(text, region))
        )

    @staticmethod
    def _planned(text: str, region: str | None) -> bool:
        """Whether the plan of the region, or for None of the country whose code stands first, has such a number."""
        import phonenumbers

        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            return False
        if region is None:
            return phonenumbers.is_valid_number(number)
        return phonenumbers.is_valid_number_for_region(number, region)


def _grouped(text: str, region: str) -> bool:
    """Whether a number stands in groups that its region's plan has, of which some may be written as one."""
    from phonenumbers import Leniency, PhoneNumberMatcher

    found = PhoneNumberMatcher(text, region, leniency=Leniency.STRICT_GROUPING)
    return any(match.raw_string == text for match in found)


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match begins; -1 if there is none."""
    return max((match.start() for match in pattern.finditer(text)), default=-1)
