"""Every row of a shard checked, in batches: what a suite expects of single rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from conf.schema.validate import ExpectationConf
from tasks.validate import suites
from tasks.validate.expectations import Context, build
from tasks.validate.outcomes import FEW, Outcome, enough, refuse_broken, short

if TYPE_CHECKING:
    import polars as pl


def check(suite: Sequence[ExpectationConf], shard: str, kind: str, batches: Iterable[pl.DataFrame]) -> list[Outcome]:
    """Check every row of one shard, batch by batch, against what the suite expects of single rows of the sample."""
    import great_expectations.expectations as known
    from great_expectations.expectations.expectation import ColumnMapExpectation

    def of_rows(wanted: ExpectationConf) -> bool:
        judged = getattr(known, suites.class_name(wanted.expectation))
        alone = issubclass(judged, ColumnMapExpectation) and not judged.__name__.endswith("ToBeUnique")
        return wanted.table == "sample" and alone and (not wanted.kinds or kind in wanted.kinds)

    chosen = [wanted.model_copy(update={"kinds": ()}) for wanted in suite if of_rows(wanted)]
    counts = [Counter(rows=0, judged=0, unexpected=0) for _ in chosen]
    first: list[list[str]] = [[] for _ in chosen]
    run = None
    for batch in batches if chosen else ():
        if run is None:
            run = Context().check("full", [build(*item, batch.columns) for item in enumerate(chosen)])
        for result in run(batch, {"result_format": "BASIC", "partial_unexpected_count": FEW}).results:
            number, found = result.expectation_config.meta["number"], result.result
            refuse_broken(chosen[number], result)
            rows = found["element_count"]
            counts[number].update(rows=rows, judged=rows - found.get("missing_count", 0))
            counts[number].update(unexpected=found["unexpected_count"])
            first[number] += [short(value) for value in found["partial_unexpected_list"]]
    return [
        _in_full(wanted, shard, count, some[:FEW]) for wanted, count, some in zip(chosen, counts, first, strict=True)
    ]


def _in_full(wanted: ExpectationConf, shard: str, count: Mapping[str, int], first: Sequence[str]) -> Outcome:
    name, unexpected = suites.snake(suites.class_name(wanted.expectation)), count["unexpected"]
    success = enough(wanted, unexpected, count["judged"])
    observed = f"{unexpected} of {count['rows']} rows" + (f" ({', '.join(first)})" if first else "")
    where = (shard,) if unexpected else ()
    blamed = {} if success else {shard: observed}
    found = Outcome(name, wanted.column, "full", wanted.severity, success, wanted.kwargs, observed, where)
    return replace(found, blamed=blamed, fix=wanted.fix)
