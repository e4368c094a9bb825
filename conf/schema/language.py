"""Languages of documents."""

from __future__ import annotations

from pydantic import Field, field_validator

from conf.schema.base import Conf
from tasks.core.errors import nearest

LANGUAGES = tuple(
    """
    und
    af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr
    ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no oc om
    or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo wa xh
    yo zh zu ace ary arz bcl crh ext fuv gcf gcr gom grc gug guw hbo kab kik lij ltg nso pcm sdh uzs vec wuu yue zxx
    """.split()  # noqa: SIM905
)
"""The languages that are told apart (BCP 47). und is a text that shows none, such as numbers; zxx, no language."""


class LanguageConf(Conf):
    """Which languages documents may have. The columns lang and lang_confidence are added to them."""

    keep: tuple[str, ...] | None = Field(None, min_length=1)
    """Languages of the documents to keep, by their codes (en, de, zh); None keeps all, each marked with its own."""
    min_confidence: float = Field(0, ge=0, le=1)
    """Smallest probability of a document's language, 0 to 1; short texts have less. 0 drops nothing."""

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for code in keep or ():
            if code not in LANGUAGES:
                raise ValueError(f"there is no language {code!r}{nearest(code, LANGUAGES)}")
        return keep
