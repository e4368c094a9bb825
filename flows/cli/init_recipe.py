"""A first recipe for a folder of text: what was seen, and options that fit it, each with the reason."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.collect.steps import ARCHIVES, of_folders, path_of
from tasks.collect.steps import left_out_files as left_out
from tasks.core.number_format import plural, size
from tasks.models.kind import Named, Offers, kinds

if TYPE_CHECKING:
    from tasks.collect.steps import Group, Survey

BYTES_PER_TOKEN = 4
PASSES = 4
"""How often text is worth reading: more passes add little (Muennighoff et al. 2023, Scaling Data-Constrained LMs)."""
LEAST = 100_000
"""Fewest tokens to train on."""
HELD_OUT, LABELLED, FEWEST = 60, 200, 100
"""Documents, and labelled ones, that tell two models apart; fewer than FEWEST in all prove nothing."""
DOUBTFUL = 0.2
"""Confidence in an encoding below which it may well be another one."""
MB = 1_000_000


@dataclass(frozen=True)
class Size:
    """A model that a corpus of up to `most` bytes can fill."""

    most: float
    hidden: int
    inner: int
    layers: int
    heads: int
    vocab: int
    cap: int
    """Tokens that two processor cores train on in a time that one waits for."""
    rate: float
    lr: float


SIZES = (
    Size(3 * MB, 128, 344, 2, 4, 2048, 1_000_000, 50_000, 4e-3),
    Size(30 * MB, 256, 688, 2, 4, 4096, 5_000_000, 18_000, 3e-3),
    Size(300 * MB, 384, 1024, 6, 6, 8192, 20_000_000, 4_500, 2e-3),
    Size(float("inf"), 512, 1376, 8, 8, 16384, 50_000_000, 1_800, 1.5e-3),
)


def describe(survey: Survey) -> Iterator[str]:
    """What was seen, a line for each kind of file with what was chosen and why, then what a person should know."""
    for group in survey.groups:
        form, _, text, label, messages = group.kind
        about = "" if group.exact else "about "
        parts = [
            plural(len(group.entries), "archive" if form in ARCHIVES else "file"),
            size(group.size),
            f"{about}{plural(group.documents, 'document')}",
        ]
        parts += [f"text in {text!r}, the longest prose"] if text else []
        if messages:
            columns = [messages] if isinstance(messages, str) else [name for _, names in messages for name in names]
            parts.append(f"conversations in {', '.join(map(repr, columns))}")
        parts += [f"titles in {group.title!r}"] if group.title else []
        parts += [f"{meaning} in {column!r}" for meaning, column in group.said.items()]
        if group.labels:
            where = "the folders' names" if group.folders else repr(label)
            parts.append(f"label in {where}: {len(group.labels)} values ({_values(group.labels)})")
        yield f"{form.removeprefix('.')}: {', '.join(parts)}"
        if set(group.encodings) - {"utf-8"}:
            yield f"  encoding: {_encodings(group)}"
    yield from troubles(survey)


def _values(labels: dict[str, int], shown: int = 6) -> str:
    most = sorted(labels.items(), key=lambda label: (-label[1], label[0]))
    said = ", ".join(f"{name} {count:,}" for name, count in most[:shown])
    return said + (f" and {len(most) - shown} more" if len(most) > shown else "")


def _encodings(group: Group) -> str:
    """Each encoding with its files, and how sure that is."""
    return ", ".join(
        f"{name} in {plural(files, 'file')}" + (f" (confidence {sure:.2f})" if sure < 1 else "")
        for name, (files, sure) in group.encodings.items()
    )


def troubles(survey: Survey) -> Iterator[str]:
    """What a person should know, each with how to fix it."""
    for one in survey.skipped[:5]:
        yield f"left out: {one.why}"
    if len(survey.skipped) > 5:
        yield f"left out: {len(survey.skipped) - 5} more files that cannot be read"
    for group in survey.groups:
        for why in group.bad[:1]:
            yield (
                f"{plural(len(group.bad), 'file')} with unreadable rows ({group.bad_rows:,} of those looked at), which "
                f"are set aside; the first: {why}"
            )
        doubtful = [name for name, (_, sure) in group.encodings.items() if sure < DOUBTFUL]
        if doubtful:
            yield f"the encoding {', '.join(doubtful)} is a guess from few letters: look at some texts, or name another"
    if survey.empty:
        yield f"{plural(survey.empty, 'empty file')}: nothing comes of that"
    if survey.others:
        yield f"not read, for their endings: {left_out(survey.others)}"
    documents = sum(group.documents for group in survey.groups)
    if documents < FEWEST:
        yield (
            f"only {plural(documents, 'document')}: too few to hold some back and tell models apart by them. A plain "
            'file is one document: split long ones, for instance into chapters, one JSON line {"text": …} each'
        )


def recipe(survey: Survey, output: Path) -> str:
    """The recipe as commented YAML, for the file `output`."""
    name, file = recipe_name(output), _in_comment(shlex.quote(str(output)))
    lines = [
        f"# {name}: made by `fromzero init {_in_comment(shlex.quote(str(survey.folder)))}`; every line may be changed.",
        f"#   fromzero plan {file}      what would run",
        f"#   fromzero run {file}       train, evaluate, register, promote",
        "extends: text",
        f"name: {name}",
        "",
        *_data(survey),
        "",
        *_model(survey),
        "",
        *_models(survey),
    ]
    return "\n".join(lines) + "\n"


def _data(survey: Survey) -> Iterator[str]:
    documents = max(sum(group.documents for group in survey.groups), 1)
    labelled = sum(sum(group.labels.values()) for group in survey.groups)
    wanted = max(HELD_OUT / documents, LABELLED / labelled if labelled else 0)
    yield "data:"
    yield "  sources:"
    for source, group in _sources(survey):
        yield f"    {source}:"
        yield f"      kind: {of_folders()}"
        yield from _paths(survey, group)
        yield from _columns(group)
        encoding = group.kind[1]
        if encoding != "utf-8":
            yield f"      encoding: {encoding}  # {_encodings(group)}"
        if group.bad:
            yield "      max_bad_rows: 1000  # rows that cannot be read are set aside; 0 stops at the first"
        damaged = sum(one.form == group.kind[0] for one in survey.skipped)
        if damaged:
            yield f"      max_bad_files: {damaged}  # files that cannot be read are left out; 0 stops at the first"
        largest = max(entry["size"] for entry in group.entries) if group.kind[0] == "text" else 0
        if largest > 60 * MB:
            yield f"      max_document_mb: {-(-largest // MB) + 1}  # the largest file is one document"
        yield "      licence: unknown  # what you may do with the text; noted with every document"
    held = f"{LABELLED} labelled ones" if wanted > HELD_OUT / documents else f"{HELD_OUT}"
    yield f"  # About {documents:,} documents: so many are held back that some {held} tell two models apart."
    yield f"  split: {{test: {_share(wanted, 0.02, 0.3)}, valid: {_share(HELD_OUT / 3 / documents, 0.01, 0.1)}}}"


def _columns(group: Group) -> Iterator[str]:
    _, _, text, label, messages = group.kind
    for option, value in (("text", text), ("messages", messages), ("label", label)):
        if isinstance(value, str) and value:
            yield f"      {option}: {quoted(value)}"
    if messages and not isinstance(messages, str):
        turns = [f"{role}: [{', '.join(map(quoted, names))}]" for role, names in messages]
        yield f"      turns: {{{', '.join(turns)}}}"
    if group.said:
        said = [f"{meaning}: {quoted(column)}" for meaning, column in group.said.items()]
        yield f"      columns: {{{', '.join(said)}}}"
    if group.folders:
        yield f"      label_from: folder  # {_in_comment(_values(group.labels))}"
    if group.title:
        yield f"      # title: {quoted(group.title)}  # puts the title above each text"


def _share(wanted: float, least: float, most: float) -> float:
    return round(min(max(wanted, least), most), 3)


def _sources(survey: Survey) -> Iterator[tuple[str, Group]]:
    """A name for each group: mine, mine-2, …"""
    for number, group in enumerate(survey.groups, 1):
        yield ("mine" if number == 1 else f"mine-{number}"), group


def _paths(survey: Survey, group: Group) -> Iterator[str]:
    """The folder where all of it is one kind, a glob for each ending where an ending is, else the files."""
    forms = [other.kind[0] for other in survey.groups]
    others = {one.form for one in survey.skipped} - {group.kind[0]}
    root = _glob(str(survey.folder))
    if len(survey.groups) == 1 and not others and root == str(survey.folder):
        paths = [str(survey.folder)]
    elif forms.count(group.kind[0]) == 1 and not set("*?[") & set(str(survey.folder)):
        paths = [f"{root}/**/*{suffix}" for suffix in sorted({_ending(entry["uri"]) for entry in group.entries})]
    else:
        yield "      # Named one by one, for the folder holds other kinds beside: a glob would take those too."
        paths = [_glob(str(path_of(entry))) for entry in group.entries]
    if len(paths) == 1:
        yield f"      paths: [{quoted(paths[0])}]"
    else:
        yield "      paths:"
        yield from (f"        - {quoted(path)}" for path in paths)


def _glob(path: str) -> str:
    """A path as YAML can hold it: ? for each byte that is no UTF-8."""
    return "".join("?" if "\udc80" <= char <= "\udcff" else char for char in path)


def _ending(uri: str) -> str:
    """As the file spells it: .txt, .JSONL.gz."""
    path = Path(uri)
    packed = path.suffix.lower() in (".gz", ".zst", ".bz2", ".xz", ".dz")
    return Path(path.stem).suffix + path.suffix if packed else path.suffix


def _model(survey: Survey) -> Iterator[str]:
    total = sum(group.size for group in survey.groups)
    model, there = next(one for one in SIZES if total <= one.most), max(total // BYTES_PER_TOKEN, 1)
    tokens = round(max(min(PASSES * there, model.cap), LEAST), -4)
    minutes = tokens / model.rate / 60
    why = f"{PASSES} passes over the text: more add little"
    if tokens == LEAST:
        why = "as few as a model needs to learn anything, though the text is read many times"
    elif tokens == model.cap:
        why = f"{tokens / there:.1f} passes over the text: what two processor cores can bear"
    yield f"# {size(total)} are about {there:,} tokens: a vocabulary and a model that so much can fill."
    yield f"tokenizer: {{vocab_size: {model.vocab}}}"
    yield "model:"
    yield "  config:"
    yield f"    hidden_size: {model.hidden}"
    yield f"    intermediate_size: {model.inner}"
    yield f"    num_hidden_layers: {model.layers}"
    yield f"    num_attention_heads: {model.heads}"
    yield f"    num_key_value_heads: {model.heads}"
    yield "pretrain:"
    yield "  segments:"
    yield "    main:"
    yield f"      # {why[0].upper()}{why[1:]}; about {max(minutes, 1):.0f} min on two cores."
    yield f"      tokens: {tokens:_}"
    yield f"      batch_tokens: {2048 if model.hidden <= 256 else 8192}"
    yield f"      peak_lr: {model.lr:.1e}"


def _models(survey: Survey) -> Iterator[str]:
    """What can be made of the text and of what its columns offer, kind by kind."""
    found = [offer for kind in kinds().values() if (offer := kind.suggest(_offers(survey)))]
    more = [offer.why for offer in found if offer.why]
    yield "# Prompts are beginnings from your text: what each new model writes after them is for you to read."
    if more:
        yield f"# The {', the '.join(more)}: remove these blocks if only the base model is wanted."
    yield "models:"
    for offer in found:
        yield f"  {offer.name}:"
        yield from _block(offer.options, 4)


def _offers(survey: Survey) -> Offers:
    labels = [count for group in survey.groups for count in group.labels.values()]
    texts, talks = (
        [start for group in survey.groups if bool(group.kind[4]) == chats for start in group.beginnings]
        for chats in (False, True)
    )
    everything = [start for group in survey.groups for start in group.beginnings]
    said = frozenset(meaning for group in survey.groups for meaning in group.said)
    return Offers(texts or everything, talks, any(group.kind[4] for group in survey.groups), tuple(labels), said)


def _block(options: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Options as lines of YAML: what holds no list is written on one line."""
    for name, value in options.items():
        start = f"{' ' * indent}{name}:"
        if isinstance(value, Mapping) and any(isinstance(inner, (list, Mapping)) for inner in value.values()):
            yield start
            yield from _block(value, indent + 2)
        elif isinstance(value, Mapping):
            yield f"{start} {{{', '.join(f'{key}: {_plain(inner)}' for key, inner in value.items())}}}"
        elif isinstance(value, list):
            yield start
            yield from (f"{' ' * (indent + 2)}- {_plain(item)}" for item in value)
        else:
            yield f"{start} {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, Named):
        return f"'${{name}}-{value}'"
    simple = isinstance(value, str) and re.fullmatch(r"[a-z][a-z_]*", value)
    return str(value) if simple or not isinstance(value, str) else quoted(value)


def write(text: str, output: Path) -> None:
    """Put a recipe into its file once it has been read back and checked; raises `ConfigError` else."""
    from conf.compose import compose

    fresh = output.with_name(f".{output.stem}.fresh{output.suffix}")
    try:
        fresh.write_text(text, encoding="utf-8")
        compose(str(fresh))
        fresh.replace(output)
    finally:
        fresh.unlink(missing_ok=True)


def recipe_name(output: Path) -> str:
    """What the models are named after: the file's name, as a recipe's name may be written."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "_.-") else "-" for char in output.stem)
    return plain.strip("-_.")[:60] or "mine"


def quoted(text: str) -> str:
    """A YAML string in double quotes that means the same to OmegaConf, whose ${…} it holds only as text."""
    plain = re.sub(r"(?<!\\)(\\*+)\$\{", lambda found: rf"{found[1]}{found[1]}\${{", text)
    return "".join(char if char.isprintable() else _escaped(char) for char in json.dumps(plain, ensure_ascii=False))


def _escaped(char: str) -> str:
    """A character as a YAML escape sequence; of half a surrogate pair, which YAML cannot hold, the replacement sign."""
    return r"\ufffd" if "\ud800" <= char <= "\udfff" else f"\\U{ord(char):08x}"


def _in_comment(text: str) -> str:
    """Text that cannot end a line of YAML."""
    return "".join(char if char.isprintable() else "?" for char in text)
