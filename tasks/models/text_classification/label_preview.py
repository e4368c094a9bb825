"""What fine-tuning will cut off labelled texts, as far as a plan can tell: a plan has a second for it, and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.core.number_format import count, plural, share
from tasks.core.run_warnings import warning
from tasks.finetune.preview import MOST, WARN, WHOLE
from tasks.formats.documents import scanned
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.models.text_classification.labels import labels_of
from tasks.text.encode import Encoder


def classify(
    docs: Sequence[Path], tokenizer: Path, context: int | None, conf: ClassifyConf
) -> tuple[str, list[dict[str, str]]]:
    """What of the labelled texts will be cut off, in words, and a warning of a share over `WARN`."""
    table = labels_of(scanned(docs), conf.several)
    if table.is_empty():
        which = " (`columns` of a source names by labels where they are)" if conf.several else ""
        return f"there is no labelled document to train on{which}", []
    sizes = [len(ids) for ids in Encoder.of_file(tokenizer).texts(table["text"].head(MOST).to_list())]
    whole = sorted(sizes)[min(len(sizes) * WHOLE // 100, len(sizes) - 1)]
    auto = min(max(whole, 8), conf.length_limit, context or conf.length_limit)
    length = conf.max_length if isinstance(conf.max_length, int) else auto
    cut, lost = sum(size > length for size in sizes), sum(max(0, size - length) for size in sizes)
    of = "" if table.height <= MOST else f" (of {count(MOST)} looked at)"
    said = (
        f"about {share(sum(sizes) - lost, sum(sizes))} of the texts' tokens will be read{of}: of "
        f"{plural(len(sizes), 'labelled document')} {count(cut)} longer than {count(length)} tokens are cut off"
    )
    if lost <= WARN * sum(sizes):
        return said, []
    what = f"about {share(lost, sum(sizes))} of the texts' tokens will be cut off, beyond {count(length)} of a text"
    name = "max_length" if isinstance(conf.max_length, int) else "length_limit"
    option = f"models.{conf.run.model}.train.{name}"
    return said, [warning(what, option)]
