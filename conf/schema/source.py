"""What kinds of sources share: options that several of them have. Each kind's own are in tasks/collect/sources/."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from conf.schema.base import Conf
from tasks.core.urls import bare, secrets_in

AUTO = "auto"
"""The encoding that stands for: whichever a file is in."""

Meaning = Literal["number", "labels", "spans", "tags", "target", "chosen", "rejected"]
"""What a column beside text and label may hold."""
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable that holds a secret."""


def refuse_secrets(urls: tuple[str, ...], instead: str) -> None:
    """Raise `ValueError` for a URL that would store, with the recipe, what lets its holder in; `instead` says where
    such a URL goes."""
    for url in urls:
        if url.startswith(("http://", "https://")) and (found := secrets_in(url)):
            raise ValueError(f"{bare(url)} holds a secret ({', '.join(found)}): {instead}")


class Source(Conf):
    """What every kind of source shares."""

    where: ClassVar[frozenset[str]] = frozenset()
    """Options that say which entries there are; what of them shapes a document is in the entries themselves."""
    kind: str
    """The name of the kind, which is that of its module."""

    @property
    def has_targets(self) -> bool:
        """Whether its documents may say what a model is to say of them, beside a label."""
        return False

    def for_key(self) -> dict[str, Any]:
        """The options that shape what is read from an entry; which entries there are is the shard's own matter."""
        return {name: value for name, value in super().for_key().items() if name not in self.where}


class RowSource(Source):
    """What is read from rows: the columns that hold text, label and conversation."""

    text: str = "text"
    """Column (CSV, Parquet, Arrow, SQL) or field (JSON) that holds the text; a.b is field b in a. A list of texts is
    joined by blank lines."""
    title: str | None = None
    """Column or field of a title, which is put above the text; None for none. Of a mail, title is its subject."""
    label: str | None = None
    """Column or field that holds a label; None where there is none."""
    messages: str | None = None
    """Column or field that holds a conversation, a list of {role, content} or {from, value}, which gives the text; None
    for none."""
    turns: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] | None = None
    """In place of messages, where a row is one question and its answer in columns of their own (Alpaca, Dolly, prompt
    and completion): the columns of each role's turn, in the order of the turns, as {user: [instruction, input],
    assistant: [output]}. Columns of one turn are joined by blank lines, empty ones left out. None for none."""
    columns: dict[Meaning, str] = Field(default_factory=dict)
    """Columns or fields of what a model is to say of the text, beside one label, by what they hold: number (for
    text_regression); labels, a list of them or a text of them separated by commas; spans, a list of {start, end, label}
    in characters of the text; tags, one of B-LABEL, I-LABEL, O for each token of a text that is a list of tokens;
    target, another text, such as a translation or a summary; chosen, an answer with which the conversation ends that
    messages or turns begin; rejected, an answer that is worse than the last one. An answer is a text, a message, or a
    conversation that ends with it."""
    roles: dict[str, Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]] = Field(default_factory=dict)
    """What names of roles mean, as {critic: user}, beside those that are known (user: human, prompter; assistant: gpt,
    bot, model, …); another role than system, user, assistant and tool needs its token in tokenizer.roles."""
    licence: str = "unknown"
    """Licence recorded with each document."""
    max_bad_rows: int = Field(0, ge=0)
    """How many unreadable rows of one shard may be set aside before it is refused; a plain file is one row."""
    max_document_mb: int = Field(64, ge=1, le=1024)
    """Largest single text, in MB; a file or row beyond it is refused. What is read at once of a table or of JSON is
    limited in proportion to it."""
    later: ClassVar[frozenset[str]] = frozenset({"turns", "columns"})

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that the text is made of."""
        if self.turns is not None:
            return tuple(dict.fromkeys(name for names in self.turns.values() for name in names))
        return (self.messages or self.text,)

    @property
    def has_targets(self) -> bool:
        """Where columns are named."""
        return bool(self.columns)

    @property
    def more_columns(self) -> tuple[str, ...]:
        """Those that are read beside them."""
        return tuple(name for name in (self.label, self.title, *self.columns.values()) if name)

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if "tags" in self.columns and "spans" in self.columns:
            raise ValueError("of columns tags and spans say the same thing twice: leave one out")
        if {"tags", "spans"} & {*self.columns} and (self.title or self.messages or self.turns):
            raise ValueError(
                "spans and tags count in the text alone: leave title, messages and turns out, or read it as two sources"
            )
        if {"chosen", "rejected"} & {*self.columns} and not (self.messages or self.turns):
            raise ValueError(
                "a rejected answer is worse than the last answer of a conversation: say by messages or turns where "
                "that is, as turns={user: [prompt], assistant: [chosen]}"
            )
        return self

    @model_validator(mode="after")
    def _one_conversation(self) -> Self:
        if self.turns is not None and self.messages:
            raise ValueError("messages and turns name two places of the conversation: leave one out")
        if self.turns is not None and not {"assistant", "chosen"} & {*self.turns, *self.columns}:
            raise ValueError("turns need the assistant's column: {user: [COLUMN], assistant: [COLUMN]}")
        return self


class WebRecords(Conf):
    """Which records of a web archive become documents: answers of servers."""

    mime_types: tuple[str, ...] = Field(("text/html", "application/xhtml+xml", "text/plain"), min_length=1)
    """Content types, in lower case; text/plain is taken as it is, of the others the main text."""
    statuses: tuple[int, ...] = Field((200,), min_length=1)
    """HTTP status codes."""


class ReadSource(RowSource):
    """What is read from files: text, Markdown, HTML, mail, CSV, TSV, JSON, JSON lines, Parquet, Arrow or WARC, each
    also .gz, .zst, .bz2 or .xz; or zip and tar archives of such."""

    encoding: str = "utf-8"
    """Character encoding of text, CSV and JSON files, and of archived pages that name none, as Python names it; auto
    decides for each file by what it holds."""

    quoting: Literal["auto", "double", "none"] = "auto"
    """What a double quote at the beginning of a CSV or TSV field means: double, that the field ends with another one;
    none, a letter like others; auto, double, but a file that can be read either way is refused."""
    label_from: Literal["folder"] | None = None
    """Take the label from elsewhere than a column: folder, the name of the folder that a file lies in."""
    max_bad_files: int = Field(0, ge=0)
    """How many files of one shard may be left out from where they are damaged on before it is refused."""
    max_page_mb: float = Field(16, gt=0, le=1024)
    """Largest web page (HTML, also as a mail) of which the main text is looked for, in millions of characters; a larger
    one is set aside and counted in the statistics."""
    max_page_seconds: float = Field(20, gt=0)
    """Seconds of a processor that looking for a page's main text may take; a page that needs more is set aside and
    counted in the statistics."""
    max_file_gb: float = Field(20, gt=0)
    """Largest file that is downloaded from a web server, in GB, and what packed files of one shard may unpack to, or
    32 times their size where that is more; what is beyond is refused before it fills the disk."""
    private_redirects: bool = False
    """Whether a web server's redirects may lead to private addresses (this machine, a local network) other than the
    server that a URL names."""
    where: ClassVar[frozenset[str]] = frozenset({"private_redirects"})
    later: ClassVar[frozenset[str]] = frozenset({"max_page_mb", "max_page_seconds", "max_file_gb"})

    def web_records(self) -> WebRecords:
        """Which records of the web archives among its files become documents."""
        return WebRecords()

    @model_validator(mode="after")
    def _one_label(self) -> ReadSource:
        if self.label and self.label_from:
            raise ValueError("label and label_from name two places of the label: leave one out")
        return self

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.lower() == AUTO:
            return AUTO
        try:
            return codecs.lookup(name).name
        except LookupError:
            raise ValueError(
                f"{name!r} is no encoding that Python knows; auto, utf-8, utf-16, cp1252 are usual"
            ) from None
