"""Pages about data: what the sources hold, what validation found, what each stage let through, the tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.core.engine.reporting import Made
from tasks.core.engine.workspace import Outcome
from tasks.core.number_format import count, plural, share, size
from tasks.corpus.funnel import ASIDE, again, parts_of, set_aside, source_of, total, without
from tasks.formats.verdicts import DATA_DOCS, INDEX, losses_in, outcomes_in
from tasks.views.prefect.markdown import bar, code, file_link, join, said, table
from tasks.views.run_view import RunView

MOST = 100
"""Losses that are shown."""


def of_step(outcomes: Iterable[Outcome], step: str) -> list[Outcome]:
    """The outcomes of a step that have statistics, by shard; the last of each."""
    found = {outcome.shard: outcome for outcome in outcomes if outcome.step == step and outcome.stats}
    return [found[shard] for shard in sorted(found, key=str)]


def sources(fetched: Sequence[Outcome], kinds: Mapping[str, str], licences: Sequence[Mapping[str, Any]]) -> str:
    """What was collected, by source; and its licences, if they have been counted."""
    rows: list[dict[str, Any]] = []
    for name in sorted({source_of(outcome.shard) for outcome in fetched}):
        own = [outcome.stats for outcome in fetched if source_of(outcome.shard) == name]
        rare = {field: total(own, field) for field in ("labelled", "conversations", *ASIDE)}
        rows.append(
            {
                "source": name,
                "kind": kinds.get(name, ""),
                "shards": len(own),
                "entries": total(own, "entries"),
                "documents": total(own, "rows"),
                "text": size(total(own, "bytes")),
                **{field: count for field, count in rare.items() if count},
            }
        )
    documents, volume = (total([outcome.stats for outcome in fetched], field) for field in ("rows", "bytes"))
    most = max((row["documents"] for row in licences), default=0)
    shown = [{**row, "": bar(row["documents"], most)} for row in licences]
    return join(
        "# Sources",
        f"**{plural(documents, 'document')}, {size(volume)} of text** from {plural(len(rows), 'source')}. "
        "Empty, repeated and unreadable rows are not among the documents.",
        table(rows),
        "## Licences" if shown else None,
        table(shown),
    )


def by_frequency(counted: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Documents by source and licence, the most frequent first."""
    rows = [{**row, "licence": row["licence"] or "unknown"} for row in counted]
    return sorted(rows, key=lambda row: (-row["documents"], row["source"], row["licence"]))


def way(view: RunView) -> str:
    """The funnel: documents into and out of each stage that lets some out, and what became of the others."""
    stages, stats_of = view.stages, view.run.stats
    rows = [
        {
            "stage": stage.name,
            "documents in": stage.documents_in,
            "out": stage.documents_out,
            "text": size(stage.bytes_out),
            "of all": share(stage.documents_out, stages[0].documents_in),
            "dropped": stage.dropped,
            "held out": stage.held_out,
        }
        for stage in stages
    ]
    reasons = [
        {"stage": stage.name, "reason": code(name), "documents": n, "of those in": share(n, stage.documents_in)}
        for stage in stages
        for name, n in stage.reasons.items()
    ]
    unknown = ", ".join(map(code, view.unmatched))
    overlaps = [{"evaluation document": code(item), "training documents": n} for item, n in view.overlaps]
    return join(
        "# Funnel",
        f"**{view.way}**",
        without(view.aside) or None,
        view.anew or None,
        f"No document has these licences of `data.licences`: {unknown}." if unknown else None,
        table(rows),
        "## Why documents were dropped" if reasons else "Nothing was dropped.",
        table(sorted(reasons, key=lambda row: -int(str(row["documents"])))),
        "What was dropped is kept: `fromzero rejects last --reason REASON` shows it." if reasons else None,
        "## Evaluation documents that took most out of training" if overlaps else None,
        table(overlaps),
        "## What training and evaluation get",
        table(_by_part(stats_of("decontaminate_shard"), stats_of("filter_shard"))),
    )


def _by_part(left: Sequence[Mapping[str, Any]], filtered: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for part, name, stats in (
        ("train", "train", left),
        ("valid", "valid", left),
        ("test", "test (held out)", filtered),
    ):
        documents, volume = (total(parts_of(stats, part), field) for field in ("documents_out", "bytes_out"))
        rows.append({"part": name, "documents": documents, "text": size(volume)})
    return rows


def validation(made: Made) -> str:
    """The verdict of a suite of expectations: what failed first, a link to the Data Docs."""
    assert made.folder is not None
    outcomes = outcomes_in(made.folder / "content")
    failed = [outcome for outcome in outcomes if not outcome["success"]]
    met = len(outcomes) - len(failed)
    rows = [_expectation(outcome) for outcome in sorted(outcomes, key=lambda o: (o["success"], o["severity"]))]
    aside = set_aside([made.stats])
    away = [
        {"shard": shard, "documents": one["documents"], "why": code("; ".join(one["failed"]))}
        for shard, one in aside.items()
    ]
    corpus = [{"": name.replace("_", " "), "value": value} for name, value in made.stats.get("corpus", {}).items()]
    return join(
        f"# {made.step.replace('_', ' ').capitalize()}",
        f"**{'Passed' if not failed else 'Passed with warnings'}: {met} of {len(outcomes)} expectations are met.**",
        f"**{without(aside)}** What follows is about the other shards." if aside else None,
        table(away),
        f"Data Docs: {file_link(made.folder / 'aux' / made.stats.get('data_docs', f'{DATA_DOCS}/{INDEX}'))}",
        table(rows),
        "## The corpus" if corpus else None,
        table(corpus),
    )


def losses(made: Made) -> str:
    """What each stage dropped of each source, the greatest share first."""
    assert made.folder is not None
    found = losses_in(made.folder / "content")
    found.sort(key=lambda one: -one["dropped"] / max(one["documents"], 1))
    rows = [
        {
            "stage": one["stage"],
            "source": one["source"],
            "documents in": one["documents"],
            "dropped": one["dropped"],
            "": share(one["dropped"], one["documents"]),
            "reasons": ", ".join(f"{name} {share(n, one['documents'])}" for name, n in one["reasons"].items()),
            "allowed": one["allowed"] or None,
        }
        for one in found
        if one["dropped"] or one["allowed"]
    ]
    many = len({one.text for one in made.warnings})
    return join(
        "# Losses",
        f"**{plural(many, 'warning')}: a stage drops much of a source.**" if many else "**No source loses much.**",
        table(rows[:MOST]),
        f"The {MOST} greatest of {count(len(rows))}." if len(rows) > MOST else None,
        "`data.losses` sets the limits, and what may be dropped for which reason.",
    )


def _expectation(outcome: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ", ".join(f"{name.replace('_value', '')} {said(value)}" for name, value in outcome["expected"].items())
    return {
        "": "✓ met" if outcome["success"] else f"✗ {outcome['severity']}",
        "expectation": outcome["expectation"].removeprefix("expect_").removeprefix("column_").replace("_", " "),
        "of": code(f"{outcome['table']}.{outcome['column']}" if outcome["column"] else outcome["table"]),
        "kinds": ", ".join(outcome.get("kinds", ())) or "all",
        "expected": wanted,
        "observed": outcome["observed"],
        "shards": "" if outcome["success"] else ", ".join(outcome["shards"][:5]),
    }


def tokenizer(trained: Outcome, tokenized: Sequence[Outcome]) -> str:
    """Vocabulary, fertility by source and language, and what the tokens amount to."""
    fertility = []
    for name, found in trained.stats.get("sources", {}).items():
        fertility.append({"source": name, **_fertility(found)})
        spoken = trained.stats.get("languages", {}).get(name, {})
        fertility.extend({"source": f"{name}, {language}", **_fertility(row)} for language, row in spoken.items())
    rows = []
    for name in sorted({source_of(outcome.shard) for outcome in tokenized}):
        own = [o.stats["parts"] for o in tokenized if source_of(o.shard) == name]
        sums = {f: sum(part[f] for parts in own for part in parts.values()) for f in ("documents", "bytes", "tokens")}
        rows.append({"source": name, "documents": sums["documents"], "text": size(sums["bytes"])})
        rows[-1]["tokens"] = sums["tokens"]
        rows[-1]["bytes per token"] = sums["bytes"] / sums["tokens"] if sums["tokens"] else None
    tokens = sum(row["tokens"] for row in rows)
    return join(
        "# Tokenizer",
        f"**A vocabulary of {count(trained.stats.get('vocab_size'))}; {count(tokens)} tokens.**",
        "## Fertility" if fertility else None,
        "On a sample of each source. Fewer tokens for a word, and more bytes to a token, are better."
        if fertility
        else None,
        table(fertility),
        "## Tokens" if rows else None,
        table([{**row, "": bar(row["tokens"], tokens)} for row in rows]),
    )


def upsampling(repeated: Sequence[Outcome]) -> str:
    """How many training documents are seen how often, and by source what that adds."""
    stats = [outcome.stats for outcome in repeated]
    seen: Counter[int] = Counter()
    for one in stats:
        seen.update({int(times): documents for times, documents in one["times"].items()})
    seen[1] = total([one["once"] for one in stats], "documents") - seen.total()
    rows = []
    for name in sorted({source_of(outcome.shard) for outcome in repeated}):
        own = [outcome.stats for outcome in repeated if source_of(outcome.shard) == name]
        added, whole = total(own, "tokens"), total([one["once"] for one in own], "tokens")
        rows.append({"source": name, "documents seen again": total(own, "repeated"), "tokens": whole})
        rows[-1] |= {"added": added, "text": size(total(own, "bytes")), "of its tokens": share(added, whole)}
    return join(
        "# Upsampling",
        f"**{again(stats)}**",
        "The number of documents is that of one reading of all sources; those held out are seen once.",
        table([{"seen": f"{times} ×", "documents": seen[times]} for times in sorted(seen)]),
        "## What it adds",
        table(rows),
        "Which ones these are: `fromzero show repeat_shard/KEY`.",
    )


def _fertility(found: Mapping[str, Any]) -> dict[str, float | None]:
    per_token = found.get("bytes_per_token")
    beside = {"GPT-2's per word": found["gpt2"]["tokens_per_word"]} if "gpt2" in found else {}
    return {
        "tokens per word": found.get("tokens_per_word"),
        **beside,
        "tokens per byte": 1 / per_token if per_token else None,
        "bytes per token": per_token,
        "reads back": found.get("exact"),
    }
