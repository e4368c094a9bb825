"""What text is taken in: the sources and how their entries are dealt into shards."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from conf.schema.base import Conf
from tasks.core.urls import bare, secrets_in

WHERE = (
    "distributions", "paths", "urls", "urls_env", "dataset", "config", "split", "revision", "url", "password_env",
    "entry_rows", "private_redirects", "follow_links",
)  # fmt: skip
"""Options that say which entries there are; what of them shapes a document is in the entries themselves."""
AUTO = "auto"
"""The encoding that stands for: whichever a file is in."""


EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable that holds a secret."""


def refuse_secrets(urls: tuple[str, ...]) -> None:
    """Raise `ValueError` for a URL that would store, with the recipe, what lets its holder in."""
    for url in urls:
        if url.startswith(("http://", "https://")) and (found := secrets_in(url)):
            raise ValueError(
                f"{bare(url)} holds a secret ({', '.join(found)}): put the URL into an environment variable, and name "
                "that in urls_env of a source of kind http"
            )


class Source(Conf):
    """What every kind of source shares."""

    def for_key(self) -> dict[str, Any]:
        """The options that shape what is read from an entry; which entries there are is the shard's own matter."""
        return {name: value for name, value in super().for_key().items() if name not in WHERE}


class PackagesSource(Source):
    """Docstrings and documentation of installed Python distributions."""

    kind: Literal["python_packages"]
    """Always python_packages."""
    distributions: tuple[str, ...] = Field(min_length=1)
    """Names of installed distributions, as pip shows them; each is the label of its docstrings."""
    min_chars: int = Field(80, ge=1)
    """Shortest docstring that becomes a document, in characters."""


class ChitchatSource(Source):
    """The human conversations of the chitchat-dataset distribution."""

    kind: Literal["chitchat"]
    """Always chitchat."""
    max_conversations: int | None = Field(None, ge=1)
    """How many conversations between two people to take, in order; None for all."""


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
    later: ClassVar[frozenset[str]] = frozenset({"max_page_mb", "max_page_seconds", "max_file_gb"})

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


class FilesSource(ReadSource):
    """Files in local folders or on S3."""

    kind: Literal["files"]
    """Always files."""
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders (all known endings below), globs (** allowed), or s3://bucket/prefix."""
    follow_links: bool = False
    """Whether symbolic links that lead out of the folders named in paths are followed; else they are left out and
    counted. A path that is itself a link is always followed."""


class HttpSource(ReadSource):
    """Files and pages on web servers."""

    kind: Literal["http"]
    """Always http."""
    urls: tuple[str, ...] = ()
    """URLs, or files of URLs, one on a line; each may end with #sha256= and a checksum. A URL without a file ending is
    a web page."""
    urls_env: EnvName | None = None
    """Environment variable with more of them, separated by white space, which may hold a user and password or a
    signature: these go to their server alone and are stored nowhere."""

    @field_validator("urls")
    @classmethod
    def _open_to_all(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        refuse_secrets(urls)
        return urls

    @model_validator(mode="after")
    def _some(self) -> HttpSource:
        if not self.urls and self.urls_env is None:
            raise ValueError("names nothing: give urls=[https://…], or urls_env=VARIABLE for those with credentials")
        return self


class HubSource(ReadSource):
    """The data files of a dataset on the Hugging Face hub, or in a local folder laid out like one; no code runs."""

    kind: Literal["hub"]
    """Always hub."""
    dataset: str = Field(min_length=1)
    """OWNER/NAME on the hub (HF_TOKEN for private ones), or a local folder as /path or ./path."""
    config: str | None = None
    """The dataset's configuration; None for its default one."""
    split: str = "train"
    """Which split's files are read."""
    revision: str = "main"
    """Branch, tag or commit on the hub; a local folder has none."""


class WebRecords(Conf):
    """Which records of a web archive become documents: answers of servers."""

    mime_types: tuple[str, ...] = Field(("text/html", "application/xhtml+xml", "text/plain"), min_length=1)
    """Content types, in lower case; text/plain is taken as it is, of the others the main text."""
    statuses: tuple[int, ...] = Field((200,), min_length=1)
    """HTTP status codes."""


class WarcSource(ReadSource):
    """Web archives (WARC), as crawlers write them."""

    kind: Literal["warc"]
    """Always warc."""
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders, globs (** allowed), s3://bucket/prefix, or https:// URLs."""
    follow_links: bool = False
    """Whether symbolic links that lead out of the folders named in paths are followed; else they are left out and
    counted. A path that is itself a link is always followed."""

    @field_validator("paths")
    @classmethod
    def _open_to_all(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        refuse_secrets(paths)
        return paths

    records: WebRecords = WebRecords()
    """Which records are taken."""


class SqlSource(RowSource):
    """The rows of an SQL query, in the order of a key."""

    kind: Literal["sql"]
    """Always sql."""
    url: str
    """SQLAlchemy's DRIVER://USER@HOST/DATABASE, without a password; postgresql+asyncpg and sqlite are installed."""
    password_env: EnvName | None = None
    """Environment variable that holds the password; None for none. It is stored nowhere."""
    query: str = Field(min_length=1)
    """A SELECT that gives the columns of key, text, label and messages; it may join and filter."""
    key: str = "id"
    """Column of whole numbers or texts, each once and never null."""
    updated: str | None = None
    """Column with the time of a row's last change. Without it a change that keeps a range's number of rows and
    characters is not noticed."""
    entry_rows: int = Field(10_000, ge=1)
    """Rows of a key range that is listed, and read again when one of them has changed; for new ranges only."""

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        if "://" not in url:
            raise ValueError("is no database URL: write DRIVER://USER@HOST/DATABASE, or sqlite:///PATH")
        if [name for name in secrets_in(url) if name != "user"]:
            raise ValueError("holds a password: leave it out, and name the environment variable in password_env")
        return url


SourceConf = Annotated[
    PackagesSource | ChitchatSource | FilesSource | HttpSource | HubSource | WarcSource | SqlSource,
    Field(discriminator="kind"),
]
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class CollectConf(Conf):
    """The sources of a corpus and the size of its shards."""

    sources: dict[SourceName, SourceConf] = Field(min_length=1)
    """The sources by name: lower-case letters, digits, - and _."""
    shard_mb: float = Field(64, gt=0)
    """A shard is closed before its entries' sizes pass this many MB; only new shards follow it."""
    shrink_limit: float = Field(0.5, ge=0, le=1)
    """The share of its entries that a source may lose since the last run before it is refused; 1 accepts any loss."""
