import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.artifact import Artifact, FileEntry, Manifest, canonical, digest_of, sha256
from tasks.core.errors import ArtifactError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
ENTRIES = st.lists(
    st.builds(
        FileEntry,
        path=st.sampled_from(["content/", "content/a/", "content/b/", "aux/"]).flatmap(
            lambda top: st.text("xyz", min_size=1, max_size=4).map(lambda name: top + name)
        ),
        size=st.integers(0, 99),
        sha256=st.text("0123456789abcdef", min_size=4, max_size=4),
    ),
    unique_by=lambda entry: entry.path,
    max_size=8,
)


def manifest(files: list[FileEntry]) -> Manifest:
    entries = tuple(sorted(files))
    return Manifest("toy", "0" * 64, {"conf": {}}, digest_of(entries), "a1", entries, {"rows": 1}, ())


@given(JSON)
def test_canonical_json_reads_back_and_ignores_the_order_of_keys(value: object) -> None:
    assert json.loads(canonical(value)) == value
    if isinstance(value, dict):
        assert sha256(dict(reversed(value.items()))) == sha256(value)


@given(ENTRIES, st.randoms())
def test_the_digest_ignores_order_and_aux_and_nothing_else(files: list[FileEntry], random: object) -> None:
    shuffled = files.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest_of(files) == digest_of(shuffled)
    assert digest_of([f for f in files if f.path.startswith("content/")]) == digest_of(files)
    for file in files:
        changed = [f for f in files if f != file] + [FileEntry(file.path, file.size, file.sha256 + "0")]
        assert (digest_of(changed) == digest_of(files)) == file.path.startswith("aux/")


@given(ENTRIES)
def test_a_part_has_a_digest_of_its_own(files: list[FileEntry]) -> None:
    inside = [f for f in files if f.path.startswith("content/a/")]
    whole = Artifact.of(manifest(files))
    if inside:
        assert whole.part("a").digest == digest_of(inside, "a")
    else:
        with pytest.raises(ArtifactError, match="no part 'a'"):
            whole.part("a")


@given(ENTRIES)
def test_a_manifest_survives_json(files: list[FileEntry]) -> None:
    made = manifest(files)
    assert Manifest.from_json(made.to_json(), "here") == made


@given(ENTRIES, st.data())
def test_a_manifest_cut_short_or_altered_is_refused(files: list[FileEntry], data: st.DataObject) -> None:
    text = manifest([*files, FileEntry("content/z", 1, "ffff")]).to_json()
    cut = data.draw(st.integers(0, len(text) - 3))
    for bad in (text[:cut], text.replace(b'"ffff"', b'"fffe"')):
        with pytest.raises(ArtifactError, match="here is not a valid manifest"):
            Manifest.from_json(bad, "here")
