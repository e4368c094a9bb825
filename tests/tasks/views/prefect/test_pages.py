"""Pages about what a run made: what a person reads first is there, and nothing of the data can act in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.artifact import Artifact
from tasks.core.engine.reporting import Made, Run
from tasks.core.engine.workspace import Outcome
from tasks.core.run_warnings import of, warning
from tasks.views.palette import most_frequent
from tasks.views.prefect import data_pages, model_pages, plots, run_page
from tasks.views.prefect.markdown import Markup, bar, code, plain, table
from tasks.views.prefect.pages import RecipePages, key
from tasks.views.run_data import registered
from tasks.views.run_view import RunView

STAGES = ("collect", "clean", "deduplicate", "hold out", "decontaminate")
RUN = Run(Path("/home"), "demo", "abcdef0123", "demo-2026", ("1", "parent"))


def outcome(step: str, shard: str | None = None, state: str = "completed", **stats: Any) -> Outcome:
    return Outcome(step, shard, state, key="k" * 64, stats=stats, seconds=2.0)


def view(outcomes: list[Outcome], state: str = "") -> RunView:
    return RunView.running(None, {"state": state, "models": registered(outcomes)}, outcomes)


def part(into: int, out: int, **reasons: int) -> dict[str, Any]:
    counts = {"documents_in": into, "documents_out": out, "bytes_in": into * 10, "bytes_out": out * 10}
    return {**counts, "reasons": reasons}


def chain(state: str = "completed") -> list[Outcome]:
    """A source of 100 documents; 20 are poor, 10 are doubles, 5 are in the evaluation set."""
    empty, held = part(0, 0), part(10, 10)
    return [
        outcome("fetch_shard", "web-000", state, rows=60, bytes=600, entries=2),
        outcome("fetch_shard", "web-001", state, rows=40, bytes=400, entries=1, unreadable=3),
        outcome("clean_shard", "web-000", state, parts={"train": part(90, 70, short=20), "test": held, "valid": empty}),
        outcome("filter_shard", "web-000", state, parts={"train": part(70, 60, near_duplicate=10), "test": held}),
        outcome("decontaminate_shard", "web-000", state, parts={"train": part(60, 55, overlap=5), "valid": empty},
                evaluation_items={"set `a`": 4, "b": 1}),
    ]  # fmt: skip


def rows(markdown: str) -> list[list[str]]:
    """The cells of all tables."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_funnel_names_the_evaluation_documents_that_took_most_out() -> None:
    said = data_pages.way(
        view([*chain(), outcome("decontaminate_shard", "web-001", parts={}, evaluation_items={"b": 6})])
    )
    assert [row for row in rows(said) if row[0] in ("`b`", "`set 'a'`")] == [["`b`", "7"], ["`set 'a'`", "4"]]


def test_the_funnel_counts_what_each_stage_lets_through_drops_and_holds_out() -> None:
    head, *cells = rows(data_pages.way(view(chain())))
    found = {row[0]: dict(zip(head, row, strict=False)) for row in reversed(cells)}
    names = ("documents in", "out", "dropped", "held out")
    assert {stage: tuple(found[stage][name] for name in names) for stage in list(found)[::-1] if stage in STAGES} == {
        "collect": ("103", "100", "3", "0"),
        "clean": ("100", "80", "20", "0"),
        "deduplicate": ("80", "70", "10", "0"),
        "hold out": ("70", "60", "0", "10"),
        "decontaminate": ("60", "55", "5", "0"),
    }
    said = "**Of 103 documents 55 are left; 38 were dropped, 10 held out for evaluation.**"
    assert said in data_pages.way(view(chain()))
    assert found["test (held out)"]["documents in"] == "10"
    again = data_pages.way(view([*chain(), outcome("cluster", recomputed={"dropped": 2, "accepted": 1})]))
    assert "would drop 2 documents" in again and "(--refresh cluster)" not in data_pages.way(view(chain()))


def test_the_funnel_lists_reasons_from_the_most_frequent() -> None:
    reasons = [cells for cells in rows(data_pages.way(view(chain()))) if cells[1].startswith("`")]
    assert [(cells[1], cells[2]) for cells in reasons] == [
        ("`short`", "20"),
        ("`near_duplicate`", "10"),
        ("`overlap`", "5"),
        ("`unreadable`", "3"),
    ]


def test_sources_are_added_up_over_their_shards_and_columns_of_nothing_are_left_out() -> None:
    page = data_pages.sources(chain()[:2], {"web": "files"}, [{"source": "web", "licence": "MIT", "documents": 100}])
    head, first, *_ = rows(page)
    assert dict(zip(head, first, strict=True)) == {
        "source": "web", "kind": "files", "shards": "2", "entries": "3", "documents": "100", "text": "1.0 kB",
        "unreadable": "3",
    }  # fmt: skip
    assert "MIT" in page


def test_pages_of_stages_are_made_once_after_their_last_step_and_only_if_something_is_new(tmp_path: Path) -> None:
    pages = RecipePages(None, {})  # type: ignore[arg-type]
    assert [page.key for page in pages.stages(RUN, "decontaminate_shard", chain())] == ["demo-funnel"]
    assert pages.stages(RUN, "clean_shard", chain()) == []
    assert pages.stages(RUN, "decontaminate_shard", chain("cached")) == []


def test_upsampling_says_how_many_documents_are_seen_how_often_and_what_that_adds_to_each_source() -> None:
    once = {"documents": 50, "tokens": 1000}
    some = {"documents": 5, "tokens": 100, "bytes": 400, "repeated": 4, "times": {"2": 3, "3": 1}, "once": once}
    none = {"documents": 0, "tokens": 0, "bytes": 0, "repeated": 0, "times": {}, "once": once}
    repeats = [outcome("repeat_shard", name, **stats) for name, stats in (("web-000", some), ("web-001", some))]
    repeats.append(outcome("repeat_shard", "code-000", **none))
    (page,) = RecipePages(None, {}).stages(RUN, "repeat_shard", repeats)  # type: ignore[arg-type]
    assert page.key == "demo-upsampling" and "**8 training documents seen more than once" in page.markdown
    cells = rows(page.markdown)
    assert cells[:4] == [["seen", "documents"], ["1 ×", "142"], ["2 ×", "6"], ["3 ×", "2"]]
    assert cells[5] == ["code", "0", "1,000", "0", "0 B", "0.0 %"]
    assert cells[6] == ["web", "8", "2,000", "200", "800 B", "10.0 %"]


def test_warnings_stand_on_the_page_of_the_run_and_of_the_step_and_nothing_in_them_acts() -> None:
    bad = warning("<b>web</b> loses 45 %", "data.losses.warn")
    pages, steps = RecipePages(None, {}), [outcome("pretrain", state="cached", warnings=[bad]), outcome("gate")]  # type: ignore[arg-type]
    whole = pages.summary(RUN, "completed", steps).markdown
    assert whole.index("## Warnings") < whole.index("## Steps") and "**pretrain**: &lt;b&gt;web" in whole
    assert "Option: data.losses.warn" in whole and "<b>" not in whole
    made = Made("tidy", "tidy", {}, None, warnings=of(steps))
    page = pages.page(RUN, made)
    assert page is not None and "## Warnings" in page.markdown and "&lt;b&gt;web" in page.markdown
    assert "Warnings" not in run_page.summary(RUN, "completed", view([outcome("gate")], "completed"))


def test_a_refused_gate_says_so_first_with_its_interval() -> None:
    decision = {
        "accepted": False, "first": False, "rule": "superior", "metric": "bits_per_byte", "margin": 0.0, "items": 40,
        "min_items": 30, "candidate": 2.1, "champion": 2.0, "difference": -0.1, "interval": [-0.2, 0.01], "p": 0.9,
        "verdict": "does not beat gzip -9 (…)", "confidence": 0.95, "reasons": ["seen", "not proven superior."],
        "floors": [{"baseline": "gzip", "holds": False, "candidate": 2.1, "value": 1.9, "difference": -0.2,
                    "interval": [-0.3, -0.1], "p": 1.0}],
    }  # fmt: skip
    page = RecipePages(None, {}).page(RUN, Made("gate", "gate", decision, None, (Artifact("evaluate_lm", "k", "d"),)))  # type: ignore[arg-type]
    assert page is not None and page.key == "demo-gate-lm"
    assert page.markdown.startswith("# Gate: refused: the candidate does not beat gzip -9 (…)\n")
    assert [row[:5] for row in rows(page.markdown)[1:3]] == [
        ["the champion", "2.100", "2.000", "-0.1000", "-0.2000 to +0.0100"],
        ["gzip -9", "2.100", "1.900", "-0.2000", "-0.3000 to -0.1000"],
    ]
    assert "**does not hold**" in page.markdown


def test_the_page_of_a_run_says_in_its_first_line_which_models_were_refused_and_why() -> None:
    steps = [
        replace(outcome("promote_model", state="refused"), message=f"{name} is not promoted: it {why}\n  candidate  a")
        for name, why in (("a version 1", "does not beat <naive> Bayes"), ("b version 2", "is not proven superior"))
    ]
    whole = RecipePages(None, {}).summary(RUN, "completed", [outcome("gate"), *steps])  # type: ignore[arg-type]
    first = whole.markdown.splitlines()[0]
    assert first.startswith(
        "# demo-2026: refused by the gate: a version 1 is not promoted: it does not beat &lt;naive&gt;"
    )
    assert first.endswith("; b version 2 is not promoted: it is not proven superior")


def test_an_evaluation_stands_beside_its_baselines_with_intervals(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.5, "accuracy_lo": 0.4, "accuracy_hi": 0.6, "naive_bayes_accuracy": 0.7}
    (tmp_path / "content").mkdir()
    samples = [{"prompt": "<img src=x>", "how": "greedy", "text": "a | b\n![](http://x)"}]
    (tmp_path / "content" / "samples.json").write_text(json.dumps(samples))
    about = {"ref": f"evaluate_classifier/{'k' * 64}", "digest": "d" * 64, "mlflow_run": "child"}
    made = Made("evaluate_classifier", "evaluate_classifier", {"metrics": metrics}, tmp_path, (), about)
    page = model_pages.evaluation(RUN, made)
    assert ["accuracy", "**the model**", "0.500", "[0.400, 0.600]"] in rows(page)
    assert ["", "naive Bayes", "0.700", ""] in rows(page)
    assert "<img" not in page and "![](" not in page
    assert "- greedy **&lt;img src=x&gt;** → a | b " in page
    assert "/#/experiments/1/runs/child" in page


def test_pictures_are_drawn_of_what_is_there_and_carried_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "aux").mkdir()
    (tmp_path / "content").mkdir()
    curve = [{"step": n, "time": 1.0, "loss": 9.0 - n} for n in range(5)] + [
        {"step": 5, "time": 1.0, "valid_loss": 4.0}
    ]
    (tmp_path / "aux" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    (tmp_path / "content" / "metrics.json").write_text(json.dumps({"accuracy": 0.5, "majority_accuracy": 0.2}))
    (tmp_path / "content" / "confusion.json").write_text(json.dumps({"labels": ["a", "b"], "matrix": [[3, 1], [0, 0]]}))
    bins = [{"confidence": 0.3, "accuracy": 0.5, "items": 4}]
    (tmp_path / "content" / "calibration.json").write_text(json.dumps(bins))
    plots.draw("evaluate_classifier", tmp_path)
    names = {path.stem for path in (tmp_path / "aux" / "plots").glob("*.png")}
    assert names == {"training_curve", "accuracy", "confusion", "calibration"}
    page = model_pages.training(RUN, Made("pretrain", "pretrain", {"metrics": {"valid_loss": 4.0}}, tmp_path))
    assert page.count("data:image/png;base64,") >= 1
    assert "**valid loss 4.000**" in page and "## Samples" not in page


def test_a_training_shows_what_it_wrote_at_first_half_way_and_at_last(tmp_path: Path) -> None:
    (tmp_path / "aux").mkdir()
    wrote = [
        {"step": n, "samples": [{"prompt": "The", "text": f"<b>{n}"}, {"prompt": "", "text": "x"}]} for n in range(9)
    ]
    (tmp_path / "aux" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrote))
    page = model_pages.training(RUN, Made("pretrain", "pretrain", {}, tmp_path))
    said = [line for line in page.splitlines() if line.startswith("- step ")]
    assert [line.split()[2] for line in said] == ["0", "0", "4", "4", "8", "8"] and "<b>" not in page
    assert said[-1] == "- step 8 **(beginning of a document)** → x", "in a list, whose lines wrap"
    assert not rows(page)


def test_the_picture_of_a_confusion_matrix_is_bounded_and_shows_the_most_frequent_labels(tmp_path: Path) -> None:
    labels = [f"class {n}" for n in range(60)]
    matrix = [[n + 1 if n == m else 0 for m in range(60)] for n in range(60)]
    plots.confusion(labels, matrix, tmp_path / "many.png")
    width, height = (int.from_bytes((tmp_path / "many.png").read_bytes()[at : at + 4], "big") for at in (16, 20))
    assert max(width, height) <= 12 * plots.STYLE["figure.dpi"]
    assert most_frequent(matrix) == list(range(20, 60))


def test_the_summary_of_a_failed_run_shows_what_failed_and_what_was_reused() -> None:
    outcomes = [*chain("cached"), Outcome("pretrain", None, "failed", message="the disk is full")]
    page = run_page.summary(RUN, "failed", view(outcomes, "failed"))
    assert page.startswith("# demo-2026: failed\n\n**0 made, 5 reused, 1 failed.**\n\n**pretrain failed**")
    assert "the disk is full" in page
    assert ["fetch_shard", "2 cached", "", "`fetch_shard/kkkkkkkkkkkk`"] in rows(page)


def test_the_summary_leads_to_models_mlflow_and_prefect() -> None:
    promoted = outcome("promote_model", name="demo-base", version=3, kind="base", primary=True, aliases=["champion"])
    page = run_page.summary(RUN, "completed", view([promoted], "completed"))
    assert "/#/models/demo-base/versions/3" in page
    assert "base (primary)" in page
    assert "/runs/flow-run/abcdef0123" in page and "/#/experiments/1/runs/parent" in page


def test_what_stands_in_a_cell_neither_ends_it_nor_is_taken_for_markup() -> None:
    assert table([{"a": "x | y\nz", "n": 1234}]) == "| a | n |\n| --- | ---: |\n| x \\| y z | 1,234 |"
    assert plain("[a](b) <i> " + "x" * 400).startswith("\\[a\\](b) &lt;i&gt;")
    assert table([]) == ""
    assert table([{"a": "<b> [x](http://y) ![](z)"}]).endswith("| &lt;b&gt; \\[x\\](http\\://y) !\\[\\](z) |")
    assert table([{"a": Markup("**x**"), "b": code("a`b|c")}]).endswith("| **x** | `a'b\\|c` |")


def test_a_message_cannot_end_the_block_that_it_stands_in() -> None:
    message = "torn:\n```\n# Not a heading\n````"
    page = run_page.summary(RUN, "failed", view([Outcome("pretrain", None, "failed", message=message)], "failed"))
    assert f"\n`````\n{message}\n`````\n" in page


def test_bars_and_keys_are_plain_characters() -> None:
    assert (bar(1, 2, 4), bar(1, 0), bar(3, 1, 2)) == ("██", "", "██")
    assert key("My Recipe", "evaluate_lm") == "my-recipe-evaluate-lm"


def test_the_page_of_validation_leads_to_the_data_docs_and_says_what_was_set_aside(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "verdict.json").write_text(json.dumps({"outcomes": []}))
    aside = {"web-001": {"documents": 40, "failed": ["rows: <0>"]}}
    for stats in ({}, {"quarantined": aside}):
        made = Made("validate_corpus", "validate_corpus", stats, tmp_path)
        page = data_pages.validation(made)
        assert f"({tmp_path.as_uri()}/aux/data_docs/index.html)" in page
        assert ("1 shard with 40 documents set aside by validation: web-001." in page) == bool(stats)
    assert ["web-001", "40", "`rows: <0>`"] in rows(page)
    assert "1 shard with 40 documents" in data_pages.way(view([*chain(), outcome("validate_corpus", **stats)]))
