"""Datasets of the Hugging Face hub, or local folders laid out like one: their data files, found by `datasets`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from conf.schema.source import ReadSource
from tasks.collect import copies, endings, places
from tasks.collect.document_writer import Documents
from tasks.core.errors import ConfigError, DataError, Transient, nearest
from tasks.core.inner_path import InnerPath

SCHEME = "hf://datasets/"


class HubSource(ReadSource):
    """The data files of a dataset on the Hugging Face hub, or in a local folder laid out like one; no code runs."""

    kind: Literal["hub"]
    """Always hub."""
    where: ClassVar[frozenset[str]] = ReadSource.where | {"dataset", "config", "split", "revision"}
    dataset: str = Field(min_length=1)
    """OWNER/NAME on the hub (HF_TOKEN for private ones), or a local folder as /path or ./path."""
    config: str | None = None
    """The dataset's configuration; None for its default one."""
    split: str = "train"
    """Which split's files are read."""
    revision: str = "main"
    """Branch, tag or commit on the hub; a local folder has none."""


OPTIONS, PLACE, LIBRARIES = HubSource, "dataset", endings.LIBRARIES
NEEDS = ("datasets", "huggingface_hub")


def entries(source: str, conf: HubSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The data files of the split as they are now; on the hub a file's stamp is the hash of what it holds.

    No file is downloaded and no code of the dataset runs. Raises `ConfigError` for a configuration, split or revision
    that is not there and for files that are not read, `DataError` for a dataset that is not there, `Transient` for a
    hub that cannot be reached.
    """
    try:
        with _in_words(conf):
            return _in_folder(conf) if _is_local(conf) else _on_hub(conf)
    except (ConfigError, DataError, Transient) as error:
        raise type(error)(f"{error} (data.sources.{source})") from error


def read(held: Sequence[dict[str, Any]], conf: HubSource, documents: Documents, scratch: Path) -> None:
    """Add the documents of some files."""
    from tasks.collect import file_reader

    def copy(entry: dict[str, Any]) -> AbstractContextManager[Path]:
        there = entry["uri"].startswith(SCHEME)
        return downloaded(entry, conf, scratch) if there else copies.copied(entry, scratch)

    file_reader.read(held, conf, documents, scratch, copy)


@contextmanager
def downloaded(entry: dict[str, Any], conf: HubSource, scratch: Path) -> Iterator[Path]:
    """A file of the hub, in the scratch folder for as long as it is read; `DataError` if it is not what was listed."""
    import huggingface_hub as hub

    owner, name, listed = entry["uri"].removeprefix(SCHEME).split("/", 2)
    file = InnerPath(listed, f"the dataset {owner}/{name}")
    repo = f"{owner}/{name}"
    folder = scratch / "hub"
    try:
        with _in_words(conf):
            about = hub.get_hf_file_metadata(hub.hf_hub_url(repo, file, repo_type="dataset", revision=conf.revision))
            if about.etag != entry["stamp"]:
                raise DataError(f"{entry['uri']} has changed since it was listed: run again")
            copy = hub.hf_hub_download(repo, file, repo_type="dataset", revision=about.commit_hash, local_dir=folder)
        yield Path(copy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_local(conf: HubSource) -> bool:
    return conf.dataset.startswith(("/", ".", "~"))


def _in_folder(conf: HubSource) -> list[dict[str, Any]]:
    root = Path(conf.dataset).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"{conf.dataset}: there is no such folder, seen from {Path.cwd()}: name one that exists")
    if any((root / name).is_file() for name in ("state.json", "dataset_dict.json")):
        raise ConfigError(
            f"{conf.dataset} was written by save_to_disk, which is no dataset's layout: read its files with `kind: "
            f"files` and paths: [{root}/**/*.arrow], or write it with to_parquet"
        )
    return [places.described(Path(file), root) for file in _resolved(str(root), conf)]


def _on_hub(conf: HubSource) -> list[dict[str, Any]]:
    from huggingface_hub import HfFileSystem

    if conf.dataset.count("/") != 1:
        raise ConfigError(f"{conf.dataset} is no name on the hub: write OWNER/NAME, or a local folder as ./path")
    system, found = HfFileSystem(), []
    for file in _resolved(SCHEME + conf.dataset, conf):
        about = system.info(file)
        name = file.removeprefix(SCHEME).split("/", 2)[2]
        stamp = about["lfs"]["sha256"] if about.get("lfs") else about["blob_id"]
        # the commit stays out: one that leaves a file as it is makes nothing again
        found.append({"uri": f"{SCHEME}{conf.dataset}/{name}", "name": name, "size": about["size"], "stamp": stamp})
    return found


def _resolved(path: str, conf: HubSource) -> list[str]:
    """The files of the split, at the commit that the revision names now, all of endings that are read."""
    from datasets import load_dataset_builder

    builder = load_dataset_builder(path, conf.config, revision=None if _is_local(conf) else conf.revision)
    splits = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if conf.split not in splits:
        raise ConfigError(f"{conf.dataset} has no split {conf.split!r}{nearest(conf.split, splits)}")
    files = [str(file) for file in splits[conf.split]]
    for file in files:
        if not endings.split(file):
            raise ConfigError(
                f"{file}: files of this ending are not read; known are {endings.KNOWN}: "
                "choose another config, or the revision refs/convert/parquet of the dataset"
            )
    if field := getattr(builder.config, "field", None):
        raise ConfigError(
            f"{files[0]}: the configuration takes the rows from the field {field!r} of each file, which is not done: "
            "write them as JSON lines, or choose the revision refs/convert/parquet of the dataset"
        )
    return files


@contextmanager
def _in_words(conf: HubSource) -> Iterator[None]:
    """Turn what `datasets` and `huggingface_hub` raise into our errors."""
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub import constants, errors

    try:
        yield
    except (errors.OfflineModeIsEnabled, ConnectionError, errors.LocalEntryNotFoundError) as error:
        if constants.HF_HUB_OFFLINE:
            raise ConfigError(
                f"{conf.dataset}: the hub is not asked while HF_HUB_OFFLINE is set: unset it, or name a local folder "
                "(/path or ./path)"
            ) from error
        raise Transient(f"{conf.dataset}: the hub cannot be reached ({_first(error)}): is there a network?") from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(f"{conf.dataset} has no revision {conf.revision!r}: name a branch, tag or commit") from error
    except DatasetNotFoundError as error:
        raise DataError(f"{_first(error)} Write OWNER/NAME; a private or gated one needs HF_TOKEN") from error
    except (EmptyDatasetError, DataFilesNotFoundError, errors.EntryNotFoundError) as error:
        raise DataError(f"{conf.dataset}: {_first(error)}: see dataset, config and split of the source") from error
    except errors.HfHubHTTPError as error:
        busy = error.response is None or error.response.status_code in (408, 429, 500, 502, 503, 504)
        raise (Transient if busy else ConfigError)(f"{conf.dataset}: {_first(error)}") from error
    except (ValueError, RuntimeError) as error:  # a configuration that is not there, a dataset that is a script
        raise ConfigError(f"{conf.dataset}: {_first(error)}: see dataset and config of the source") from error


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
