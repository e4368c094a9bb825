"""Models of the Hugging Face hub: what a name stands for now, and its files, brought here; no code of theirs runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError, Transient
from tasks.core.events import Progress
from tasks.finetune import open_models
from tasks.formats.model_folder import CONFIG_FILE

COMMIT = re.compile(r"[0-9a-f]{40}")
CLIENTS = ("httpx", "httpcore")
"""How the modules begin whose errors are faults of the connection: the hub's client takes these, or successors."""
BUSY = (408, 429, 500, 502, 503, 504)
"""Answers after which the hub may be asked again."""


class Offline(ConfigError):
    """The hub is not asked, since HF_HUB_OFFLINE is set."""


@contextmanager
def in_words(revision: str) -> Iterator[None]:
    """Turn what `huggingface_hub` raises into our errors, without the model's name; `Offline` if it may not be asked,
    `Transient` if it cannot be reached."""
    from huggingface_hub import constants, errors

    try:
        yield
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError) as error:
        if constants.HF_HUB_OFFLINE:
            raise Offline("the hub is not asked while HF_HUB_OFFLINE is set: unset it, or name a folder") from error
        raise Transient(f"the hub cannot be reached ({error}): is there a network?") from error
    except errors.GatedRepoError as error:
        raise ConfigError(
            "is gated: accept its conditions on its page of the hub, and export HF_TOKEN, a token of that account"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(f"has no revision {revision} on the hub: name a branch, tag or commit of it") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ConfigError("is not on the hub: write OWNER/NAME (HF_TOKEN for private ones), or ./path") from error
    except errors.HfHubHTTPError as error:
        busy = error.response is None or error.response.status_code in BUSY
        raise (Transient if busy else ConfigError)(f"the hub refuses it ({error})") from error
    except Exception as error:
        if type(error).__module__.startswith(CLIENTS):
            raise Transient(f"the hub cannot be reached ({type(error).__name__}: {error})") from error
        raise


def looked_up(name: str, revision: str, known: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The commit that a revision of a model stands for now, and what the model is (`open_models.about`) with the
    `files` that are needed of it, {name: {"size", "sha256" or None}}, and the number of its `parameters`.

    What is `known` of a commit, by its digits, is not asked for again. Raises what `in_words` does.
    """
    import huggingface_hub as hub

    if revision in known:
        return revision, known[revision]
    with in_words(revision):
        found = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        commit = str(found.sha)
        if commit in known:
            return commit, known[commit]
        sizes = {
            one.rfilename: {"size": one.size or 0, "sha256": one.lfs and one.lfs.sha256} for one in found.siblings or ()
        }
        with TemporaryDirectory() as folder:
            for file in (one for one in open_models.SMALL if one in sizes):
                hub.hf_hub_download(name, file, revision=commit, local_dir=folder)
            about = open_models.about(Path(folder), sizes)
            files = {file: sizes[file] for file in open_models.needed(Path(folder), sizes)}
        counted = found.safetensors and found.safetensors.total
        if not counted:
            heads = hub.get_safetensors_metadata(name, revision=commit)
            counted = sum(heads.parameter_count.values())
    return commit, {**about, "files": files, "parameters": counted}


def check_reachable(name: str, commit: str) -> None:
    """Raise what `in_words` does unless the files of a commit can be fetched now."""
    import huggingface_hub as hub

    with in_words(commit):
        hub.get_hf_file_metadata(hub.hf_hub_url(name, CONFIG_FILE, revision=commit))


def bring(name: str, commit: str, files: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Fetch files of a commit into a folder; what an attempt that broke off has fetched is gone on with.

    Raises `Transient` for a file that is not what the hub said it is, and what `in_words` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(len(files), "file", sum((folder / file).exists() for file in files))
    for file, known in files.items():
        whole, part = folder / file, folder / f"{file}.part"
        if whole.exists():
            continue
        with in_words(commit):
            _go_on(name, commit, file, part, int(known["size"]))
        if known["sha256"] and hash_file(part) != known["sha256"]:
            part.unlink()
            raise Transient(f"{file} came as something else than the hub says it is: it is fetched again")
        part.replace(whole)
        progress.add()


def _go_on(name: str, commit: str, file: str, part: Path, size: int) -> None:
    """Fetch what is missing of a file; the hub's library by itself begins anew in each process."""
    import huggingface_hub as hub
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    url = hub.hf_hub_url(name, file, revision=commit)
    about, headers = hub.get_hf_file_metadata(url), build_hf_headers()
    if urlsplit(about.location).netloc != urlsplit(url).netloc:  # a store of files has no business with the token
        headers.pop("authorization", None)
    with part.open("ab") as held:
        if held.tell() > size:  # of another file, or damaged
            held.truncate(0)
        try:
            http_get(about.location, held, resume_size=held.tell(), headers=headers, expected_size=size)
        except OSError as error:
            if type(error) is OSError and error.errno is None:  # it sent less than it said
                raise Transient(f"{file} broke off ({error})") from error
            raise
