import pytest
from pydantic import ValidationError

from conf.schema.language import LanguageConf


def test_an_unknown_language_is_told_the_nearest() -> None:
    assert LanguageConf(keep=("en", "zxx")).keep == ("en", "zxx")
    with pytest.raises(ValidationError, match="there is no language 'eng'; did you mean en"):
        LanguageConf(keep=("de", "eng"))


def test_no_language_at_all_to_keep_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        LanguageConf(keep=())
