"""The languages of rows, by the model that ships with py3langid, from the beginning of each text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

COLUMN = "lang"
"""The column of rows that names their language (BCP 47)."""
UNDETERMINED = "und"
"""Language of a text in which the model finds nothing."""
CHARACTERS = 1000
"""Characters of a text that are looked at; some 0.2 ms."""
FEW = 5
"""Languages that are named one by one."""


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def of_texts(texts: Iterable[str | None]) -> list[str]:
    """The language of each text."""
    identifier = _identifier()
    nothing = identifier.classify("")
    found = (identifier.classify((text or "")[:CHARACTERS]) for text in texts)
    return [UNDETERMINED if one == nothing else str(one[0]) for one in found]


def marked(rows: pl.DataFrame) -> pl.DataFrame:
    """Documents with the column `lang` beside; of a conversation it is that of what is said, not of the roles."""
    import polars as pl

    said = pl.col("messages").list.eval(pl.element().struct.field("content").fill_null("")).list.join("\n")
    texts = rows.select(pl.coalesce(said, "text"))["messages"]
    return rows.with_columns(pl.Series(COLUMN, of_texts(texts), dtype=pl.String))


def statistics(rows: pl.DataFrame) -> pl.DataFrame:
    """One row on marked documents: main_language and its share of them, and languages, as in "en 0.98, de 0.02"."""
    import polars as pl

    counts = Counter(rows[COLUMN])
    ranked = _ranked(counts)
    main = ranked[0] if ranked else UNDETERMINED
    return pl.DataFrame(
        {
            "main_language": [main],
            "main_language_share": [counts[main] / max(1, rows.height)],
            "languages": [_said(counts)],
        },
        schema={"main_language": pl.String, "main_language_share": pl.Float64, "languages": pl.String},
    )


def by_source(rows: pl.DataFrame) -> dict[str, str]:
    """The languages of marked documents of each source."""
    groups = rows.group_by("source", maintain_order=True)
    return dict(sorted((str(source), _said(Counter(group[COLUMN]))) for (source,), group in groups))


def _ranked(counts: Counter[str]) -> list[str]:
    """The most frequent first, those alike by name."""
    return sorted(counts, key=lambda name: (-counts[name], name))


def _said(counts: Counter[str]) -> str:
    ranked = _ranked(counts)
    shares = [f"{name} {counts[name] / counts.total():.2f}" for name in ranked[:FEW]]
    return ", ".join([*shares, *([f"{len(ranked) - FEW} more"] if len(ranked) > FEW else [])])
