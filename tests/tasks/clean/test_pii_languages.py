"""Personal data in sentences of nine languages: what {braces} hold has to go, and nothing else; what has none stays."""

import re

import polars as pl
import pytest

from conf.schema.clean import PiiKind
from tasks.clean.pii import KINDS, scrub

SK, GH = "sk-" + "a1B2" * 8, "ghp_" + "x1Y2" * 9
AWS, HF = "AKIA" + "Q7ZD" * 4, "hf_" + "abcde12345" * 4
CASES = {
    "zh": {
        "email": ["请联系{jinli@gmail.com}谢谢", "我的邮箱是{jinli1986@example.com.cn}，欢迎来信"],
        "phone": ["手机{13812345678}，随时打", "座机（{010-62781234}）有人接", "加我微信{138 1234 5678}吧"],
        "card": ["卡号{4111111111111111}请勿外传", "银行卡{6222 0212 3456 7894}已挂失"],
        "iban": ["账户{DE89370400440532013000}收款", "汇到{GB82 WEST 1234 5698 7654 32}即可"],
        "ip": ["服务器{93.184.216.34}宕机", "从地址{8.8.4.123}登录的"],
        "secret": [f"密钥{{{SK}}}请保密", f"令牌是{{{GH}}}，别泄露"],
    },
    "ja": {
        "email": ["連絡先は{taro@example.co.jp}まで", "メール（{hanako.y@example.jp}）をください"],
        "phone": ["電話は{03-3224-9999}です", "携帯{090-1234-5678}へどうぞ", "お電話{０３（１２３４）５６７８}まで"],
        "card": ["カード番号{4111111111111111}です", "番号は{3530 1113 3330 0000}でした"],
        "iban": ["口座{DE89370400440532013000}へ", "送金先は{FR1420041010050500013M02606}です"],
        "ip": ["サーバ{93.184.216.34}が停止", "アドレスは{8.8.4.123}です"],
        "secret": [f"鍵は{{{SK}}}です", f"トークン{{{HF}}}を使う"],
    },
    "ko": {
        "email": ["메일은{minsu@example.co.kr}로 주세요", "문의: {help.desk@example.kr}입니다"],
        "phone": ["전화{010-1234-5678}로 연락", "서울 {02-312-3456}입니다"],
        "card": ["카드번호{4111111111111111}입니다", "카드 {5500-0055-5555-5559}를 분실"],
        "iban": ["계좌{DE89370400440532013000}로 송금", "은행 {GB82WEST12345698765432}입니다"],
        "ip": ["서버{93.184.216.34}가 멈춤", "주소는 {8.8.4.123}입니다"],
        "secret": [f"키는{{{SK}}}입니다", f"토큰 {{{GH}}}을 쓴다"],
    },
    "ru": {
        "email": ["пишите на {ivan.petrov@mail.ru}, отвечу", "адрес{olga@example.ru}или", "на {иван@почта.рф} тоже"],
        "phone": ["звоните {8 (495) 123-45-67} днём", "моб.{+7 916 123-45-67}и всё", "тел. {89161234567}"],
        "card": ["карта {4111 1111 1111 1111} утеряна", "номер карты{5500005555555559}вот"],
        "iban": ["счёт {DE89 3704 0044 0532 0130 00} в банке", "перевод на{GB82WEST12345698765432}завтра"],
        "ip": ["сервер {93.184.216.34} не отвечает", "адрес{8.8.4.123}вот"],
        "secret": [f"ключ {{{SK}}} никому", f"токен{{{GH}}}вот"],
    },
    "ar": {
        "email": ["راسلني على {ali.hassan@example.com} شكرا", "البريد{sara@example.com.eg}فقط"],
        "phone": ["اتصل على {+20 2 27361234} مساء", "جوال {+٩٦٦٥٠١٢٣٤٥٦٧} الآن", "هاتف{+966501234567}الآن"],
        "card": ["بطاقة {4111111111111111} مفقودة", "رقمها {٤١١١١١١١١١١١١١١١} هنا"],
        "iban": ["الحساب {SA0380000000608010167519} في البنك", "إلى {DE89 3704 0044 0532 0130 00} غدا"],
        "ip": ["الخادم {93.184.216.34} متوقف", "عنوان {8.8.4.123} معروف"],
        "secret": [f"المفتاح {{{SK}}} سري", f"الرمز{{{GH}}}هنا"],
    },
    "th": {
        "email": ["ติดต่อ{somchai@example.co.th}ได้", "อีเมล {info.bkk@example.th}ค่ะ"],
        "phone": ["โทร{+66 2 123 4567}นะ", "มือถือ{+66812345678}ครับ"],
        "card": ["บัตร{4111111111111111}หาย", "เลขบัตร{5500 0055 5555 5559}ค่ะ"],
        "iban": ["บัญชี{DE89370400440532013000}รับเงิน", "โอนไป{GB82WEST12345698765432}ค่ะ"],
        "ip": ["เซิร์ฟเวอร์{93.184.216.34}ล่ม", "ที่อยู่{8.8.4.123}นี้"],
        "secret": [f"คีย์{{{SK}}}ลับ", f"โทเคน{{{HF}}}ค่ะ"],
    },
    "de": {
        "email": ["Schreib an {jürgen.groß@münchen.de} bitte", "Mail: {info@example.de}."],
        "phone": ["Tel. {030 1234567} oder", "Mobil: {0171/1234567}", "ruf {0171-123 45 67} an", "({089 12 34 56-78})"],
        "card": ["Karte {4111 1111 1111 1111} gesperrt", "Kreditkarte: {378282246310005}."],
        "iban": ["IBAN {DE89 3704 0044 0532 0130 00}.", "Konto {DE89370400440532013000} bei der Bank"],
        "ip": ["Server {93.184.216.34} steht", "Adresse {8.8.4.123} gesperrt"],
        "secret": [f"Schlüssel {{{SK}}} geheim", f"Zugang: {{{AWS}}}."],
    },
    "fr": {
        "email": ["écrivez à {hélène@exemple.fr} merci", "courriel : {jean-paul@example.fr}"],
        "phone": ["appelez le {01 23 45 67 89}.", "tél {06.12.34.56.78}", "joignable au {04 7612 3456}"],
        "card": ["carte {4111 1111 1111 1111} perdue", "n° {5500-0055-5555-5559}."],
        "iban": ["IBAN {FR14 2004 1010 0505 0001 3M02 606}", "compte {FR1420041010050500013M02606} ici"],
        "ip": ["le serveur {93.184.216.34} répond", "adresse {8.8.4.123}"],
        "secret": [f"clé {{{SK}}} privée", f"jeton : {{{GH}}}"],
    },
    "en": {
        "email": ["write to {jane.doe+x@mail.example.org}, thanks", "({a_b@example.co.uk})"],
        "phone": ["call {(212) 555-2368} now", "on {020 7946 0958} today", "ring {0800 330 1000}", "{808-782-1557}"],
        "card": ["card {4111 1111 1111 1111} ok", "Amex {3782 822463 10005}"],
        "iban": ["IBAN {GB82 WEST 1234 5698 7654 32}", "to {DE89370400440532013000} please"],
        "ip": ["ping {93.184.216.34}!", "host {2606:2800:220:1:248:1893:25c8:1946} is up"],
        "secret": [f"key = {{{SK}}}", f"export {{{AWS}}}"],
    },
}  # fmt: skip
NOBODYS = {
    "zh": [
        "1949年10月1日至2023-11-14", "订单号13812345678已发货", "ISBN 978-7-5086-1234-5", "版本10.20.30.1发布",
        "编号0123-4567-89", "价格1,234,567,890元",
    ],
    "ja": [
        "2023年11月14日（2023/11/14）", "注文番号0123-4567-89", "注文番号09012345678です", "ISBN 978-4-06-519981-7",
        "ISBN 4065199816です", "型番03-1234-5678", "バージョン1.10.20.3",
    ],
    "ko": [
        "2023년 11월 14일 10:30", "주문번호 010-1234-5678", "송장번호01012345678", "ISBN 978-89-364-3426-7",
        "버전 1.10.20.3 공개",
    ],
    "ru": [
        "14.11.2023 в 10:30", "номер заказа 8 916 123 45 67", "заказ № 89161234567", "ISBN 978-5-17-118366-7",
        "версия 1.10.20.3", "артикул 0123-4567-89",
    ],
    "ar": [
        "بتاريخ 14/11/2023 الساعة 10:30", "رقم الطلب 01001234567", "رقم الطلب 0123-4567-89", "ISBN 978-977-09-1234-5",
        "الإصدار 1.10.20.3", "السعر ١٬٢٣٤٬٥٦٧ ريال",
    ],
    "th": [
        "วันที่ 14/11/2566 เวลา 10:30", "หมายเลขคำสั่งซื้อ 0123-4567-89", "รหัสสินค้า 0812345678", "ISBN 978-616-18-1234-5",
        "รุ่น 1.10.20.3",
    ],
    "de": [
        "am 14.11.2023 um 10:30 Uhr", "Bestellnummer 0171 1234567", "Artikel-Nr. 0123-4567-89",
        "ISBN 978-3-16-148410-0", "Version 1.10.20.3", "Bestellung 4711-0815", "0123-4567-89",
    ],
    "fr": [
        "le 14/11/2023 à 10:30", "commande n° 0612345678", "numéro de dossier 01 23 45 67 89", "ISBN 978-2-07-036024-6",
        "version 1.10.20.3", "réf. 0123-4567-89",
    ],
    "en": [
        "on 2023-11-14T10:30:00Z", "order no. 020 7946 0958", "order 0123-4567-89", "ISBN 0-306-40615-2",
        "ISBN 0306406152", "version 1.10.20.3", "the placeholder 123-456-7890", "tracking number 808-782-1557",
    ],
}  # fmt: skip
ITEM = re.compile(r"\{([^{}]*)\}")


def scrubbed(text: str, regions: tuple[str, ...] | None = None) -> str:
    found, _ = scrub(pl.Series([text]), tuple(KINDS), *([regions] if regions else []))
    return str(found[0])


@pytest.mark.parametrize(
    ("kind", "text"),
    [(kind, text) for kinds in CASES.values() for kind, texts in kinds.items() for text in texts],
)
def test_personal_data_go_in_every_language_and_leave_the_sentence(kind: PiiKind, text: str) -> None:
    assert scrubbed(ITEM.sub(r"\1", text)) == ITEM.sub(KINDS[kind].placeholder, text)


def test_every_language_has_two_cases_of_every_kind_and_of_what_is_nobodys() -> None:
    assert all(set(kinds) == set(KINDS) and min(map(len, kinds.values())) >= 2 for kinds in CASES.values())
    assert set(NOBODYS) == set(CASES) and all(len(texts) >= 4 for texts in NOBODYS.values())


@pytest.mark.parametrize("text", [text for texts in NOBODYS.values() for text in texts])
def test_dates_books_versions_and_orders_stay_in_every_language(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ("TH", "โทร{02 123 4567}นะ"),
        ("TH", "มือถือ{0812345678}ครับ"),
        ("EG", "اتصل على {02 27361234} مساء"),
        ("EG", "جوال {٠١٠٠١٢٣٤٥٦٧} الآن"),
        ("SA", "هاتف {050 123 4567} الآن"),
        ("DE", "Tel. {0711 12 34 56}"),
    ],
)
def test_national_forms_of_another_country_are_found_where_it_is_asked_for(region: str, text: str) -> None:
    assert scrubbed(ITEM.sub(r"\1", text), (region,)) == ITEM.sub("<PHONE>", text)


@pytest.mark.parametrize("region", ["CN", "JP", "KR", "FR", "DE", "RU", "GB"])
def test_a_number_in_other_groups_than_its_plan_has_is_one_only_after_a_word_for_telephones(region: str) -> None:
    """0123-4567-89 has as many digits as a number of Japan, Korea or France, none of which is written so."""
    assert scrubbed("it says 0123-4567-89 there", (region,)) == "it says 0123-4567-89 there"
    named = scrubbed("phone 0123-4567-89", (region,))
    assert named == ("phone <PHONE>" if region in ("JP", "KR", "FR") else "phone 0123-4567-89")
