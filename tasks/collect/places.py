"""Where files lie: local folders and S3 buckets, listed by path, folder or glob."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.collect import bucket, dictionaries, endings
from tasks.core.errors import ConfigError, DataError
from tasks.core.number_format import plural
from tasks.core.run_warnings import warning

Entry = dict[str, Any]


def entries(source: str, paths: Iterable[str], follow: bool = False) -> list[Entry]:
    """The files that the paths name, each once; `name` is relative to the folder that its path starts from.

    Links that lead out of a folder are left out and counted, unless told to `follow` them.

    Raises `DataError` for a path that names nothing, a folder named like a file, a symlink that loops or points
    nowhere, anything that is no regular file, and `ConfigError` for a named file with an unknown ending.
    """
    found: dict[str, Entry] = {}
    passed: Counter[str] = Counter()
    for path in paths:
        try:
            listed = list(_in_bucket(path, passed) if path.startswith("s3://") else _local(path, passed, follow))
            if not listed:
                raise DataError(f"{path}: {_why_none(path, passed)}")
        except (ConfigError, DataError) as error:
            raise type(error)(f"{error} (data.sources.{source}.paths)") from error
        for entry in listed:
            same = found.setdefault(entry["uri"], entry)
            if same.get("bytes") != entry.get("bytes"):
                raise DataError(f"{entry['uri']}: two files have names that are shown alike: rename one of them")
    _passed[tuple(paths)] = passed
    return list(found.values())


_passed: dict[tuple[str, ...], Counter[str]] = {}


def passed_over(paths: Iterable[str]) -> Mapping[str, int]:
    """The files in the folders that the last listing of these paths left out, by ending."""
    return Counter({name: count for name, count in _left_out(paths).items() if name != LINKS})


def links_out(paths: Iterable[str]) -> int:
    """How many links the last listing of these paths did not follow, for they lead out of their folders."""
    return _left_out(paths)[LINKS]


def _left_out(paths: Iterable[str]) -> Counter[str]:
    return _passed.get(tuple(paths), Counter())


def warnings(source: str, paths: Iterable[str]) -> list[dict[str, str]]:
    """Of what the last listing of these paths left out: files, for their endings, and links."""
    counts, found = passed_over(paths), []
    if links := links_out(paths):
        text = f"source {source}: {plural(links, 'link')} out of the folders in paths not followed"
        found.append(warning(text, f"data.sources.{source}.follow_links"))
    if not counts:
        return found
    total = plural(sum(counts.values()), "file")
    return [*found, warning(f"source {source}: {total} not read, for their endings: {endings.left_out(counts)}")]


LINKS = " (links that lead out of their folder)"
"""What links that are not followed are counted under; no ending is like it."""


def described(file: Path, root: Path) -> Entry:
    """The entry of one file, whatever its ending; `bytes` is the path in hexadecimal where it is no UTF-8.

    The stamp tells changes of the file from those that keep its size and set its time back.
    """
    at, path, name = file.stat(), str(file), file.relative_to(root).as_posix()
    raw = {} if shown(path) == path else {"bytes": os.fsencode(path).hex()}
    if (endings.split(path) or ("",))[0] == endings.DICTIONARY and (index := dictionaries.index_of(file)):
        raw["index"] = stamp(index.stat())
    return {"uri": shown(path), "name": shown(name), "size": at.st_size, "stamp": stamp(at), **raw}


def stamp(at: os.stat_result) -> str:
    """When a file was changed last, as it says and as its file system does, which nobody sets back."""
    return f"{at.st_mtime_ns}-{at.st_ctime_ns}"


def path_of(entry: Mapping[str, Any]) -> Path:
    """Where the local file of an entry lies."""
    return Path(os.fsdecode(bytes.fromhex(entry["bytes"])) if "bytes" in entry else entry["uri"])


def shown(name: str) -> str:
    r"""A file's name as text that can be stored and printed: bytes that are no UTF-8 as \xE9 is written."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def has_magic(path: str) -> bool:
    """Whether a path is a glob."""
    return bool(re.search(r"[*?\[]", path))


def anchor(path: str) -> tuple[str, str]:
    """Split a glob into the folder before its first wildcard and the pattern below it."""
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if has_magic(part))
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else "."), "/".join(parts[first:])


def translate(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression over a relative path: ** spans folders, * and ? do not; none meets a first dot."""
    *folders, name = pattern.split("/")
    runs = [""]
    for part in folders:
        if part == "**":
            runs.append("")
        else:
            runs[-1] += _part(part) + "/"
    runs[-1] += r"(?:(?!\.)[^/]+/)*(?!\.)[^/]+" if name == "**" else _part(name)
    return re.compile(_joined(runs, r"(?:(?!\.)[^/]+/)*"), re.DOTALL)


def _part(part: str) -> str:
    """One name of a glob."""
    runs = [""]
    for token in re.findall(r"\[!?\]?[^\]]*\]|.", part):
        if token == "*":
            runs.append("")
        elif len(token) > 1:
            runs[-1] += "(?!/)" + ("[^" + token[2:] if token.startswith("[!") else token)
        else:
            runs[-1] += "[^/]" if token == "?" else re.escape(token)
    return ("" if part.startswith(".") else r"(?!\.)") + _joined(runs, "[^/]*")


def _joined(runs: list[str], between: str) -> str:
    """Patterns with anything in between: the first place at which one but the last fits is as good as any, so that
    there is no going back to it and many stars take no longer than a few."""
    first, *others = runs
    if not others:
        return first
    return first + "".join(f"(?>{between}?{run})" for run in others[:-1]) + between + others[-1]


def _local(path: str, passed: Counter[str], follow: bool) -> Iterator[Entry]:
    where = Path(path).expanduser()
    if os.path.lexists(where) or not has_magic(path):
        root = where.absolute()
        kind = _kind(root)
        if kind == "missing":
            raise DataError(f"{path}: there is no such file or folder: name one that exists, from {Path.cwd()}")
        if kind == "folder":
            _refuse_folder_named_like_a_file(root)
            for file in _walk(root, links=_Links(root, passed, follow)):
                if not (known := endings.split(file.name)):
                    passed[ending(file.name)] += 1
                elif known[0] == endings.DICTIONARY and not dictionaries.index_of(file):
                    passed[endings.NO_INDEX] += 1
                else:
                    yield _entry(file, root)
        else:
            yield _entry(root, root.parent)
        return
    folder, pattern = anchor(str(where))
    root, matches = Path(folder).absolute(), translate(pattern)
    if _kind(root) == "folder":
        depth = None if "**" in pattern else pattern.count("/")
        files = (
            file
            for file in _walk(root, depth, links=_Links(root, passed, follow))
            if matches.fullmatch(file.relative_to(root).as_posix())
        )
        yield from (_entry(file, root) for file in files)


def ending(name: str) -> str:
    """What a file that is not read is counted under."""
    return shown(PurePosixPath(name).suffix.lower() or PurePosixPath(name).name)


class _Links:
    """Which symbolic links in a folder are followed: those that lead out of it only where told to."""

    def __init__(self, root: Path, passed: Counter[str], follow: bool) -> None:
        self.root, self.passed, self.follow = root.resolve(), passed, follow

    def lead_out(self, path: Path) -> bool:
        """Whether a path is a link that is not followed; it is counted then."""
        out = not self.follow and path.is_symlink() and not path.resolve().is_relative_to(self.root)
        if out:
            self.passed[LINKS] += 1
        return out


def _walk(
    folder: Path, depth: int | None = None, above: tuple[tuple[int, int], ...] = (), *, links: _Links
) -> Iterator[Path]:
    """What lies in a folder, at most `depth` folders down; a folder named like a file comes as if it were one."""
    try:
        at, children = folder.stat(), sorted(folder.iterdir())
    except PermissionError as error:
        raise DataError(
            f"{shown(str(folder))}: the folder cannot be looked into: {error.strerror}: make it readable "
            "(chmod u+rx), or leave it out"
        ) from error
    if (at.st_dev, at.st_ino) in above:
        raise DataError(f"{folder}: this symlink leads back to a folder above it: remove it, or name the folders")
    for child in children:
        if child.name.startswith(".") or (os.path.exists(child) and links.lead_out(child)):
            continue
        if endings.split(child.name) or _kind(child) == "file":
            yield child
        elif depth is None or depth > 0:
            yield from _walk(child, None if depth is None else depth - 1, (*above, (at.st_dev, at.st_ino)), links=links)


def _kind(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise DataError(f"{path}: this symlink points nowhere: fix or remove it") from None
        return "missing"
    except NotADirectoryError:
        return "missing"
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path}: this symlink leads round to itself: remove it, or point it at a file") from None
        raise DataError(
            f"{path}: cannot be looked at: {error.strerror or error}: make its folder readable (chmod u+rx), or leave "
            "it out"
        ) from error
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: is a device, pipe or socket, not a file")
    return "file"


def _refuse_folder_named_like_a_file(folder: Path) -> None:
    if endings.split(folder.name):
        raise DataError(
            f"{folder}: is a folder, though named like a file: rename it, or name its files with a glob ({folder}/*)"
        )


def _entry(file: Path, root: Path) -> Entry:
    if _kind(file) == "folder":
        _refuse_folder_named_like_a_file(file)
    _check_ending(str(file))
    return described(file, root)


def _in_bucket(path: str, passed: Counter[str]) -> Iterator[Entry]:
    name, _, key = path.removeprefix("s3://").partition("/")
    if not name:
        raise ConfigError(f"{path}: names no bucket: write s3://BUCKET/PREFIX")
    folder, pattern = anchor(key) if has_magic(key) else (key.rstrip("/"), None)
    folder = "" if folder == "." else folder
    matches = translate(pattern) if pattern else None
    for found in bucket.listed(name, folder):
        if found.key.endswith("/") or (folder and found.key != folder and not found.key.startswith(f"{folder}/")):
            continue
        below = found.key.rpartition("/")[2] if found.key == folder else found.key[len(folder) :].lstrip("/")
        exact = found.key == folder and not pattern
        if matches.fullmatch(below) if matches else exact or endings.split(below):
            uri = f"s3://{name}/{found.key}"
            _check_ending(uri)
            yield {"uri": uri, "name": below, "size": found.size, "stamp": found.etag}
        elif not matches:
            passed[ending(below)] += 1


def _check_ending(path: str) -> None:
    if not endings.split(path):
        way = endings.CONVERT.get(PurePosixPath(path).suffix.lower())
        fix = f"; make text of it first: `{way}`" if way else ""
        raise ConfigError(f"{shown(path)}: unknown file ending; known are {endings.KNOWN}{fix}")


def _why_none(path: str, passed: Counter[str]) -> str:
    if has_magic(path) and not passed[LINKS]:
        return f"no file matches this glob, seen from {Path.cwd()}"
    if passed[LINKS]:
        return f"nothing but {plural(passed[LINKS], 'link')} out of it: follow_links=true of the source follows them"
    where = "there is no such object, and no folder with" if path.startswith("s3://") else "the folder holds no"
    there = f"; there are {endings.left_out(passed)}" if passed else ""
    return f"{where} files ending in {endings.KNOWN}{there}"
