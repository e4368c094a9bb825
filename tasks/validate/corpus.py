"""The verdict on a whole corpus: its shards' statistics, rows, and drift; what fails is refused or set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conf.schema.validate import DriftConf, ExpectationConf, QuarantineConf
from tasks.core.artifact import Artifact
from tasks.core.errors import DataError
from tasks.core.services import run_events
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.formats.document_files import DOCUMENTS_FILE
from tasks.formats.verdicts import DATA_DOCS, set_aside_in, write_quarantine
from tasks.validate import data_docs, distribution, drift, expectations, in_full, quarantine, suite_tables, verdict
from tasks.validate import row_languages as languages
from tasks.validate.outcomes import Outcome

TITLE = "Validation of the collected documents"
GO_ON = (
    "To go on: fix the source or take it out of data.sources; or, if such data are meant, set the same expectation in "
    "data.validation.expectations with other limits or severity: warning; or let failing shards be set aside with "
    "data.validation.quarantine.set_aside=shards"
)


@dataclass(frozen=True)
class Look:
    """What was found in some of the shards."""

    outcomes: list[Outcome]
    results: dict[str, Any]
    corpus: dict[str, Any]
    languages: dict[str, str]
    """Of the sampled rows of each source."""


class Corpus:
    """All shards, and what they are held against."""

    def __init__(
        self,
        profiles: Sequence[Artifact],
        full: Sequence[Artifact],
        rules: Mapping[str, Any],
        previous: Artifact | None,
        max_rows: int,
    ) -> None:
        self.profiles = {profile.shard or profile.key: profile for profile in profiles}
        self.previous, self.max_rows = previous, max_rows
        suite = [ExpectationConf.model_validate(wanted) for wanted in rules["suite"]]
        self.wanted = [*suite, *(drift.expected(DriftConf(**rules["drift"])) if previous else ())]
        self.statistics = suite_tables.statistics_of(profiles)
        kinds = dict(self.statistics.select("shard", "kind").iter_rows())
        marked = any(wanted.column == languages.COLUMN for wanted in suite)
        self.in_full = {}
        for docs in full:
            shard = docs.shard or docs.key
            rows = suite_tables.rows_of(docs / DOCUMENTS_FILE, shard, kinds[shard], marked)
            self.in_full[shard] = in_full.check(suite, shard, kinds[shard], rows)

    def look(self, without: Sequence[str] = ()) -> Look:
        """Check the shards but some."""
        statistics, sample, corpus = suite_tables.of_profiles(self.left(without), self.max_rows)
        corpus = drift.measured(corpus, self.distribution(without), self.previous)
        found = {"statistics": statistics, "sample": sample, "corpus": suite_tables.one_row(corpus)}
        outcomes, results = expectations.run(self.wanted, found)
        rows = [outcome for shard, some in self.in_full.items() if shard not in without for outcome in some]
        return Look([*outcomes, *rows], results, corpus, languages.by_source(sample))

    def distribution(self, without: Sequence[str]) -> Any:
        """The distribution of the shards but some."""
        return distribution.read(profile / distribution.FILE for profile in self.left(without))

    def left(self, without: Sequence[str]) -> list[Artifact]:
        """The profiles of the shards but some."""
        return [profile for shard, profile in self.profiles.items() if shard not in without]


def judge(
    profiles: Sequence[Artifact],
    full: Sequence[Artifact],
    rules: Mapping[str, Any],
    previous: Artifact | None,
    max_rows: int,
    work: Workdir,
) -> Stats:
    """Write verdict.json, distribution.npy, the Data Docs in aux/data_docs and, with a quarantine, what it says of each
    shard in SHARD/quarantine.json; see `verdict.write` for what is returned, and `quarantined` beside it.

    Raises `DataError` for critical failures that are not set aside.
    """
    corpus, conf = Corpus(profiles, full, rules, previous, max_rows), QuarantineConf(**rules["quarantine"])
    first = last = corpus.look()
    if moved := [
        str(outcome) for outcome in first.outcomes if outcome.column in drift.COMPARED and not outcome.success
    ]:
        run_events.tell_of_recipe(run_events.DRIFT, "the corpus moved from the last accepted one: " + "; ".join(moved))
    aside: dict[str, list[str]] = {}
    too_many = None
    while conf.set_aside == "shards" and (found := quarantine.failing(last.outcomes, conf)):
        aside |= found
        too_many = quarantine.too_many(aside, corpus.statistics, conf)
        if too_many:
            aside, last = {}, first
            break
        last = corpus.look(tuple(aside))
    outcomes = [quarantine.released(outcome, conf) for outcome in last.outcomes]
    before = {f"before_{name}": result for name, result in first.results.items()} if aside else {}
    index = data_docs.write(work.aux / DATA_DOCS, TITLE, outcomes, {**last.results, **before}, aside, last.languages)
    critical = [outcome for outcome in outcomes if outcome.stops]
    if critical:
        raise DataError(verdict.refusal(TITLE, critical, index, too_many or GO_ON))
    if new := sorted(shard for shard in aside if not set_aside_in(previous, shard)):
        run_events.tell_of_recipe(run_events.QUARANTINE, f"set aside: {', '.join(new)}", shards=new)
    distribution.write(work / distribution.FILE, corpus.distribution(tuple(aside)))
    stats = verdict.write(outcomes, last.corpus, work)
    if conf.set_aside == "shards":
        for shard in corpus.profiles:
            write_quarantine(work, shard, aside.get(shard, []))
    return stats | quarantine.stats(aside, corpus.statistics)
