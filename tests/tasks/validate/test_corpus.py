"""The verdict on a corpus: shards that fail are set aside, or stop the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks.core.artifact import hash_file
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tests.tasks.validate.conftest import artifact, table_of, work_in
from tests.tasks.validate.test_steps import GOOD, validated

BAD = [f"{text} {chr(0xFFFD) * 30}" for text in GOOD[:4]]
pytestmark = pytest.mark.usefixtures("small_suite")
ASIDE = {"set_aside": "shards", "max_row_share": 0.3}


def fates(work: Workdir) -> dict[str, str]:
    """The bytes of what is said of each shard."""
    return {path.parent.name: hash_file(path) for path in work.content.glob("*/quarantine.json")}


def test_a_failing_shard_is_set_aside_with_its_reason_and_the_verdict_is_about_the_rest(tmp_path: Path) -> None:
    tables = {"own-000": table_of(GOOD), "own-001": table_of(BAD), "own-002": table_of(GOOD)}
    work = work_in(tmp_path / "work")
    stats = validated(tmp_path, tables, work, quarantine=ASIDE)
    ((shard, found),) = stats["quarantined"].items()
    assert (shard, found["documents"]) == ("own-001", 4) and stats["corpus"]["rows"] == 80 and not stats["warnings"]
    assert re.fullmatch(
        r"expect_\w+\(max_value=0.01\) on column 'replacement_share' of statistics: 0\.\d+", found["failed"][0]
    )
    said = fates(work)
    assert said["own-000"] == said["own-002"] != said["own-001"]
    index = (work.aux / "data_docs" / "index.html").read_text()
    assert "Set aside" in index and found["failed"][0].partition(":")[2] in index
    assert "own-001" in (work.aux / "data_docs" / "before_statistics.html").read_text()
    assert "own-001" not in (work.aux / "data_docs" / "statistics.html").read_text()

    mended = work_in(tmp_path / "mended")
    tables["own-001"] = table_of(GOOD[:4])
    assert "quarantined" not in validated(tmp_path / "2", tables, mended, quarantine=ASIDE)
    assert set(fates(mended).values()) == {said["own-000"]}


def test_a_released_shard_goes_on_as_an_accepted_one_and_stays_a_warning(tmp_path: Path, work: Workdir) -> None:
    tables = {"own-000": table_of(GOOD), "own-001": table_of(BAD)}
    stats = validated(tmp_path, tables, work, quarantine={**ASIDE, "release": ["own-001"]})
    assert "quarantined" not in stats and stats["corpus"]["rows"] == 44
    assert len(set(fates(work).values())) == 1 and any("released by the config" in one for one in stats["warnings"])


@pytest.mark.parametrize(
    ("texts", "options"),
    [([GOOD, BAD], {"max_row_share": 0.05}), ([BAD, BAD], {}), ([GOOD, BAD, BAD], {"max_shards": 1})],
)
def test_beyond_the_limits_the_run_stops_and_both_are_named(
    tmp_path: Path, work: Workdir, texts: list[list[str]], options: dict[str, Any]
) -> None:
    tables = {f"own-{n:03d}": table_of(some) for n, some in enumerate(texts)}
    with pytest.raises(DataError, match=r"(?s)replacement_share.*index\.html\n\d of \d shards fail .*max_shards="):
        validated(tmp_path, tables, work, quarantine={**ASIDE, "max_row_share": 0.5, **options})
    assert not list(work.content.iterdir())


def test_what_only_the_rest_as_a_whole_fails_stops_the_run(tmp_path: Path, work: Workdir) -> None:
    most = {"expectation": "expect_column_values_to_be_between", "column": "rows", "kwargs": {"min_value": 41}}
    tables = {"own-000": table_of(GOOD), "own-001": table_of(BAD)}
    with pytest.raises(DataError, match=r"min_value=41\) on column 'rows' of corpus: observed 1 of 1 rows \(40\)"):
        validated(tmp_path, tables, work, quarantine=ASIDE, expectations=[most | {"table": "corpus"}])


def test_drift_is_that_of_what_is_left(tmp_path: Path) -> None:
    first, second = work_in(tmp_path / "first"), work_in(tmp_path / "second")
    options: dict[str, Any] = {"drift": {"max_divergence": 0}, "quarantine": ASIDE}
    validated(tmp_path / "1", {"own-000": table_of(GOOD)}, first, **options)
    tables = {"own-000": table_of(GOOD), "own-001": table_of(BAD)}
    stats = validated(tmp_path / "2", tables, second, artifact(first.root, "validate_corpus"), **options)
    assert (stats["corpus"]["rows_ratio"], stats["corpus"]["divergence"], stats["warnings"]) == (1, 0, [])


def test_a_row_that_no_sample_holds_is_found_in_a_shard_that_is_checked_in_full(tmp_path: Path, work: Workdir) -> None:
    table = table_of(GOOD)
    last = max(table["id"])  # the sample holds the smallest ids
    hidden = {"own-000": table, "own-001": table_of(GOOD, uri=["" if one == last else one for one in table["id"]])}
    assert validated(tmp_path, hidden, work_in(tmp_path / "sampled"))["warnings"] == []
    with pytest.raises(DataError, match=r"column 'uri' of full: observed 1 of 40 rows \(''\) in shard own-001"):
        validated(tmp_path / "2", hidden, work, full_shards=2)
    stats = validated(
        tmp_path / "3", hidden, work_in(tmp_path / "aside"), full_shards=2, quarantine={**ASIDE, "max_row_share": 0.5}
    )
    assert list(stats["quarantined"]) == ["own-001"]
