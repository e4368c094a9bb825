import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.clean.pii import KINDS, card, iban, luhn, public_ip, scrub
from tasks.core.errors import ConfigError

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我的邮箱是jinli@example.com，欢迎联系", "我的邮箱是<EMAIL>，欢迎联系"),
        ("请联系jinli@example.com谢谢", "请联系<EMAIL>谢谢"),
        ("メールはtaro@example.co.jpまで", "メールは<EMAIL>まで"),
        ("手机13812345678，座机010-62781234", "手机<PHONE>，座机<PHONE>"),
        ("电话+8613812345678", "电话<PHONE>"),
        ("телефон+7 495 123-45-67", "телефон<PHONE>"),
        ("卡号4111111111111111谢谢", "卡号<CARD>谢谢"),
        ("IP地址8.8.4.123的机器", "IP地址<IP>的机器"),
        ("我的邮箱是jinli1986@gmail.com，", "我的邮箱是<EMAIL>，"),
        ("邮箱ｊｉｎｌｉ＠ｇｍａｉｌ．ｃｏｍ谢谢", "邮箱<EMAIL>谢谢"),
        ("手机１３８１２３４５６７８吧", "手机<PHONE>吧"),
        ("电话（010）62781234。", "电话<PHONE>。"),
        ("致电138-1234-5678", "致电<PHONE>"),
        ("客服400-810-8888欢迎", "客服<PHONE>欢迎"),
        ("電話は03-1234-5678です", "電話は<PHONE>です"),
        ("携帯090-1234-5678まで", "携帯<PHONE>まで"),
        ("電話03(1234)5678", "電話<PHONE>"),
        ("携帯09012345678へ", "携帯<PHONE>へ"),
        ("전화010-1234-5678로", "전화<PHONE>로"),
        ("서울 02-312-3456입니다", "서울 <PHONE>입니다"),
        ("연락처01012345678로", "연락처<PHONE>로"),
        ("звоните 8 (495) 123-45-67 сегодня", "звоните <PHONE> сегодня"),
        ("тел.89161234567,", "тел.<PHONE>,"),
        ("моб8-916-123-45-67и", "моб<PHONE>и"),
        ("пишите наivan@mail.ruили", "пишите на<EMAIL>или"),
        ("пишите на иван@почта.рф сейчас", "пишите на <EMAIL> сейчас"),
        ("Tel. 030 1234567 oder", "Tel. <PHONE> oder"),
        ("Telefon: 0171/1234567", "Telefon: <PHONE>"),
        ("(030) 1234567", "<PHONE>"),
        ("089-12345678", "<PHONE>"),
        ("appelez le 01 23 45 67 89.", "appelez le <PHONE>."),
        ("tél 06.12.34.56.78", "tél <PHONE>"),
        ("Tél: 0612345678", "Tél: <PHONE>"),
        ("call 020 7946 0958 today", "call <PHONE> today"),
        ("07700 900123", "<PHONE>"),
        ("(020) 7946 0958", "<PHONE>"),
        ("(808) 782-1557 or 808.782.1557", "<PHONE> or <PHONE>"),
        ("ติดต่อsomchai@example.co.thค่ะ", "ติดต่อ<EMAIL>ค่ะ"),
        ("โทร+66812345678นะ", "โทร<PHONE>นะ"),
        ("هاتف+966501234567الآن", "هاتف<PHONE>الآن"),
        ("البريدali@example.comشكرا", "البريد<EMAIL>شكرا"),
        ("هاتف +٩٦٦٥٠١٢٣٤٥٦٧", "هاتف <PHONE>"),
        ("Schreib an jürgen@münchen.de bitte", "Schreib an <EMAIL> bitte"),
        ("密钥sk-a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2请", "密钥<SECRET>请"),
        ("ключghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxвот", "ключ<SECRET>вот"),
        ("账号GB82WEST12345698765432谢", "账号<IBAN>谢"),
        ("服务器93.184.216.34宕机", "服务器<IP>宕机"),
        ("адрес8.8.8.8вот", "адрес<IP>вот"),
        ("邮箱:用户@例子.公司 谢谢", "邮箱:<EMAIL> 谢谢"),
    ],
)
def test_personal_data_are_found_beside_letters_of_every_script_and_in_national_forms(text: str, expected: str) -> None:
    assert scrubbed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 978-7-5086-1234-5",
        "1949年10月1日—1978.12.18",
        "数3.14159265和192x168与192 x 168",
        "版本1.10.20.3发布",
        "时间戳1700000000和2023-11-14T22:13:20Z",
        "订单号20231114000123",
        "联系我们的用户@例子.公司",
        "order 4711-4567-89 of 2023-11-14T22:13:20Z",
        "Phys. Rev. E 78, 046110 2008",
        "3.14159265, 192 x 168, 0.0123456789, .0171 1234567",
        "on 05/12/2019 10:30 and 01-02-2003 04",
        "13812345678 is a number",
        "17179869184 = 2**34, 0x8613812345678",
        "rows 01 02 03 04 05 06 and 0000 0171 1234567 0002",
        "sha 4111111111111111abc, v1.2.3.4, 2.31.0.1",
        "заказ 20231114000123, цена 1 234 567 890 руб.",
        "ราคา 12,345,678 บาท ปี 2566",
        "السعر 1234567890 ريال",
        "commande 2023-11-14, 1 234 567,89 EUR",
        "Bestellung 4711-0815, 12.345.678,90 EUR",
        "가격 1,234,567,890원",
        "価格は1,234,567,890円、型番1234-5678-9012",
        "价格1,234,567,890元，版本10.20.30.0",
    ],
)
def test_numbers_that_are_nobodys_stay_in_every_language(text: str) -> None:
    assert scrubbed(text) == text


ITEMS = {
    "<EMAIL>": "li.na+x@mail.example.co.uk",
    "<PHONE>": "+49 30 1234567",
    "<CARD>": "4111 1111 1111 1111",
    "<IBAN>": "DE89370400440532013000",
    "<IP>": "93.184.216.34",
    "<SECRET>": "ghp_" + "x" * 36,
}
SCRIPTS = {
    "Han": "的一是请联系我谢电邮", "Kana": "あいうのはまでカタテル", "Hangul": "가나다라마로입니다", "Thai": "กขคงจฉชซ",
    "Cyrillic": "абвгдежзий", "Arabic": "ابتثجحخد", "Hebrew": "אבגדהו", "Greek": "αβγδεζ", "Devanagari": "कखगघङच",
    "Khmer": "កខគឃង", "Georgian": "აბგდევ", "Armenian": "աբգդեզ", "spaces": "a b c ",
}  # fmt: skip


@pytest.mark.parametrize("letters", SCRIPTS.values(), ids=SCRIPTS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_an_item_between_letters_of_any_script_goes_and_nothing_else(letters: str, data: st.DataObject) -> None:
    placeholder = data.draw(st.sampled_from(sorted(ITEMS)))
    gap = " " if " " in letters else ""
    before, after = (data.draw(st.text(letters, min_size=1, max_size=8)) for _ in range(2))
    assert scrubbed(f"{before}{gap}{ITEMS[placeholder]}{gap}{after}") == f"{before}{gap}{placeholder}{gap}{after}"


def test_national_forms_are_those_of_the_regions_asked_for() -> None:
    texts = pl.Series("text", ["手机13812345678，tél 06.12.34.56.78"])
    assert scrub(texts, ALL, ("FR",))[0][0] == "手机13812345678，tél <PHONE>"
    assert scrub(texts, ALL, ())[0][0] == texts[0]
    with pytest.raises(ConfigError, match=r"data\.clean\.phone_regions names XX.*; there are|did you mean"):
        scrub(texts, ALL, ("FR", "XX"))
