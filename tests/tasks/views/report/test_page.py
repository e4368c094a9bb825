"""The page: whole, alone, harmless, and readable whatever the run was like."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tasks.views.report import page
from tasks.views.run_view import RunView
from tests import pipeline_process
from tests.browser import opened
from tests.tasks.views.small_run import EVIL, Made, chain

VOID = {"meta", "link", "br", "img", "input", "hr", "col"}
SECTIONS = ("models", "steps", "data", "tokenizer", "training", "lineage", "effort", "environment", "again")


class Tree(HTMLParser):
    """Checks that every element that is opened is closed in order, and collects what could act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        """What a reader sees, white space made single."""
        return re.sub(r"\s+", " ", " ".join(self.text))


def rendered(made: Made, state: str, **more: Any) -> tuple[str, Tree]:
    text = page.render(RunView.recorded(made.store, "small", made.record(state, **more)))
    return text, Tree(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return chain(tmp_path_factory.mktemp("small"))


def test_a_refused_model_comes_first_with_its_metric_and_interval_beside_champion_and_baseline(made: Made) -> None:
    _, tree = rendered(made, "refused")
    assert "Refused small-base was not promoted" in tree.words[:900]
    expected = "small-base version 2 was refused: bits per byte 3.000 [2.900, 3.100]; the champion before 2.500"
    assert expected in tree.words and "gzip -9 2.900. It does not beat: gzip -9. not proven superior" in tree.words
    assert "Gate: refused" in tree.words and "not proven superior" in tree.words


def test_warnings_stand_under_the_verdict_with_their_options(made: Made) -> None:
    bad = {"step": "check_losses", "shard": None, "text": f"clean drops 45.0 % {EVIL}", "option": "data.losses.warn"}
    _, tree = rendered(made, "completed", warnings=[bad])
    assert "1 warning check_losses : clean drops 45.0 % <script>" in tree.words[:2000]
    assert tree.words.index("data.losses.warn") < tree.words.index("with intervals")
    assert not [one for one in rendered(made, "completed")[1].elements if one[1].get("class") == "warnings"]


def test_the_evaluation_documents_that_took_most_out_are_named(made: Made) -> None:
    _, tree = rendered(made, "completed")
    assert "Evaluation document Training documents item <script>" in tree.words


def test_the_headline_says_which_baseline_a_refused_model_does_not_beat(tmp_path: Path) -> None:
    verdict = f"does not beat gzip -9 (bits per byte 3.000 against 2.900) {EVIL}"
    floors = {"baseline": "gzip", "holds": False, "value": 2.9}
    _, tree = rendered(chain(tmp_path, verdict, (floors,)), "refused")
    assert "Refused small-base was not promoted: it does not beat gzip -9 (bits per byte 3.000" in tree.words[:900]


def test_fertility_is_shown_by_source_and_language_beside_gpt2(made: Made) -> None:
    _, tree = rendered(made, "refused")
    assert "GPT-2's s 2.500 1.500 1.250 s, en 2.500 1.500 1.250" in tree.words


def test_documents_samples_and_names_cannot_act_in_the_page(made: Made) -> None:
    text, tree = rendered(
        made, "refused", name=EVIL, recipe=EVIL, command=f"fromzero run {EVIL}", config={"name": EVIL}
    )
    assert [tag for tag, _ in tree.elements].count("script") == 1 and "<img" not in text
    assert not [name for _, attrs in tree.elements for name in attrs if name.startswith("on") or name == "style"]
    for shown in ("dropped <script>", "said <script>", "not proven superior <script>", "torn <script>"):
        assert shown in tree.words


def test_only_the_pages_own_style_and_script_are_allowed(made: Made) -> None:
    text, tree = rendered(made, "refused")
    policy = next(a["content"] for _, a in tree.elements if a.get("http-equiv") == "Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for tag in ("script", "style"):
        inline = re.search(f"<{tag}>(.*?)</{tag}>", text, re.S)
        assert inline and page._hash(inline[1]) in policy


def test_the_page_loads_nothing(made: Made) -> None:
    text, tree = rendered(made, "refused", urls={"prefect": "http://127.0.0.1:4200/x"})
    loading = {"src", "srcset", "data", "action", "poster", "background"}
    assert not [attrs for _, attrs in tree.elements if loading & attrs.keys()]
    assert all((attrs["href"] or "").startswith("#") for _, attrs in tree.elements if "href" in attrs)
    assert "@import" not in text and "url(" not in text


def test_every_section_id_and_link_is_there_once(made: Made) -> None:
    _, tree = rendered(made, "refused")
    assert len(tree.ids) == len(set(tree.ids)) and set(SECTIONS) <= set(tree.ids)
    links = {(attrs["href"] or "#")[1:] for _, attrs in tree.elements if "href" in attrs}
    described = {one for _, a in tree.elements for one in (a.get("aria-labelledby") or "").split()}
    assert links | described <= set(tree.ids)


def test_every_chart_is_xml_with_a_title_and_a_description(made: Made) -> None:
    text, _ = rendered(made, "refused")
    charts = [svg for svg in re.findall(r"<svg.*?</svg>", text, re.S) if 'role="img"' in svg]
    assert len(charts) >= 5
    for svg in charts:
        root = ET.fromstring(svg)
        assert (root.findtext("title") or "").strip() and (root.findtext("desc") or "").strip()


def test_data_training_and_effort_are_counted_in_tables(made: Made) -> None:
    _, tree = rendered(made, "refused", config={"engine": {"watts_per_core": 36.0, "price_per_core_hour": 0.5}})
    assert "collect 12 10 83.3 % – 5.0 kB repeated 1 unreadable 1" in tree.words
    assert "clean 10 8 80.0 % 5.0 kB 4.0 kB too_short 2" in tree.words
    assert "Of 12 documents 8 are left; 4 were dropped, 0 held out for evaluation." in tree.words
    assert "would drop 3 documents that earlier intakes accepted and accept 2 in their place." in tree.words
    assert "1 training document seen more than once" in tree.words and "Tokens, seen again 250" in tree.words
    assert "2 times at most: 250 tokens beside 2,000 (12.5 % more)." in tree.words
    assert "MIT 3 100.0 %" in tree.words and "Vocabulary 300 tokens" in tree.words
    assert "pretrain 7200.0 14400.0 144.000 Wh 2.00000" in tree.words and "36 W per core" in tree.words
    assert "What it wrote meanwhile (6)" in tree.words and "step 7 at 7:" in tree.words
    assert "(beginning of a document) step 7 from nothing" in tree.words
    assert "Learning rate learning rate" not in tree.words
    assert "no price set" not in tree.words and "here cpu" in tree.words and "polars 2.1.0" in tree.words


def test_an_evaluation_set_from_elsewhere_stands_below_its_source(tmp_path: Path) -> None:
    made = chain(tmp_path)
    made.add("fetch_evaluation", shard="quiz", rows=3, bytes=9)
    source = {"kind": "files", "paths": ["/quiz"], "licence": "MIT"}
    _, tree = rendered(made, "refused", config={"data": {"decontaminate": {"against": {"quiz": source}}}})
    assert "quiz, source: files: 0 in, 1 out" in {attrs.get("aria-label") for _, attrs in tree.elements}


def test_at_the_width_of_a_telephone_only_boxes_with_a_shaded_edge_scroll_sideways(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(rendered(made, "refused")[0])
    with opened(width=420) as shown:
        shown.goto(file.as_uri())
        shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        page, boxes = shown.evaluate("""[document.documentElement.scrollWidth,
            [...document.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1 &&
            getComputedStyle(one).overflowX === 'auto').map(one => getComputedStyle(one).backgroundAttachment)]""")
    assert page == 420 and boxes and all("local" in attachment for attachment in boxes)


def test_with_the_price_of_gpus_alone_the_costs_of_steps_on_cores_are_not_known(made: Made) -> None:
    _, tree = rendered(made, "refused", config={"engine": {"price_per_device_hour": 2.5, "currency": "EUR"}})
    assert (
        "pretrain 7200.0 14400.0 40.000 Wh n/a" in tree.words and "n/a (set engine.price_per_core_hour)" in tree.words
    )
    assert "not set per core and hour" in tree.words and "2.5 EUR per GPU and hour" in tree.words


def test_without_a_price_none_is_made_up(made: Made) -> None:
    _, tree = rendered(made, "refused")
    assert "no price set" in tree.words and "10 W per core" in tree.words


def test_a_failed_run_says_where_and_why_and_what_never_ran(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add("fetch_shard", shard="s-000", rows=3, bytes=9)
    made.record_step("clean_shard", "failed", shard="s-000", message=f"DataError: no documents left {EVIL}")
    made.record_step("pretrain", "skipped", key=None)
    text, tree = rendered(made, "failed", models=[], error="another")
    assert "Failed The run failed in clean_shard[s-000] DataError: no documents left <script>" in tree.words
    assert "there is no model to show" in tree.words and "No curves" in tree.words and "No tokenizer" in tree.words
    assert "<script>document" not in text


@pytest.mark.parametrize(
    "state, error, said",
    [("interrupted", "interrupted", "The run was interrupted"), ("failed", "the disk is full", "disk is full")],
)
def test_a_run_that_ended_before_its_first_step_is_told_too(tmp_path: Path, state: str, error: str, said: str) -> None:
    _, tree = rendered(Made(tmp_path), state, models=[], error=error)
    assert said in tree.words and "ended before the first" in tree.words


def test_an_interrupted_run_says_so_and_shows_no_model_that_it_never_came_to(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.add("fetch_shard", shard="s-000", rows=3, bytes=9)
    for step in ("evaluate_lm", "gate", "register_model", "promote_model"):
        made.record_step(step, "skipped", key=None)
    _, tree = rendered(made, "interrupted", models=[], error="interrupted")
    assert "! Interrupted The run was interrupted: what was made stays made, and the same command goes on" in tree.words
    assert "there is no model to show" in tree.words and "complete" not in tree.words[:900]


def test_a_run_that_waits_for_a_person_says_for_what(tmp_path: Path) -> None:
    made = chain(tmp_path)
    made.steps[-1] |= {"state": "waiting", "message": "fromzero approve small-base"}
    _, tree = rendered(made, "waiting")
    said = "Awaiting approval small-base awaits approval fromzero approve small-base"
    assert said in tree.words and "small-base version 2 awaits approval: bits per byte 3.000" in tree.words


def test_artifacts_that_are_gone_are_said_to_be_and_the_rest_is_shown(tmp_path: Path) -> None:
    made = chain(tmp_path)
    for step in made.steps:
        if step["step"] in ("evaluate_lm", "clean_shard"):
            made.store.forget(step["step"], step["key"])
    _, tree = rendered(made, "refused")
    assert "3 artifacts of this run are not in the store any more" in tree.words
    assert "measurements are not in the store any more" in tree.words
    assert "Vocabulary" in tree.words and "pretrain" in tree.words


def test_a_store_that_lost_everything_still_gives_a_page(tmp_path: Path) -> None:
    made = chain(tmp_path)
    for step in made.steps:
        made.store.forget(step["step"], step["key"])
    _, tree = rendered(made, "refused")
    assert set(SECTIONS) <= set(tree.ids) and "No artifact of this run is in the store" in tree.words


def test_a_record_from_before_options_and_messages_were_kept_is_shown(made: Made) -> None:
    old = made.record("refused")
    old["steps"] = [{name: value for name, value in step.items() if name != "message"} for step in old["steps"]]
    del old["urls"]
    tree = Tree(page.render(RunView.recorded(made.store, "small", old)))
    assert "does not hold the command line" in tree.words and "from before the configuration was kept" in tree.words


def test_half_a_surrogate_pair_in_a_text_does_not_keep_the_report_from_being_written(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.record_step("pretrain", "failed", message="torn \ud83d end")
    out = tmp_path / "out" / "page.html"
    page.write(made.store, "small", made.record("failed", models=[]), out)
    assert "torn ? end" in out.read_text(encoding="utf-8") and [*out.parent.iterdir()] == [out]


def test_of_very_many_classes_the_page_shows_the_most_frequent(tmp_path: Path) -> None:
    made, labels = Made(tmp_path), [f"class-{n}" for n in range(60)]
    matrix = [[n + 1 if n == m else 0 for m in range(60)] for n in range(60)]
    made.add("evaluate_classifier", metrics={"accuracy": 1.0}, files={
        "content/confusion.json": {"labels": labels, "matrix": matrix},
    })  # fmt: skip
    text, tree = rendered(made, "completed")
    assert "Confusion matrix (60 classes)" in tree.words and "Only the 40 classes with the most items" in tree.words
    assert "class-59 " in tree.words and "class-19 " not in tree.words and text.count('<td class="c h') == 1600


def test_a_reused_run_shows_what_its_artifacts_hold(made: Made) -> None:
    record = made.record("completed")
    record["steps"] = [{**step, "state": "cached", "seconds": 0.0} for step in record["steps"]]
    tree = Tree(page.render(RunView.recorded(made.store, "small", record)))
    assert "Unchanged" in tree.words and "this run spent nothing on steps" in tree.words
    assert "2 h 00 min" in tree.words and "too_short" in tree.words


def test_the_report_of_a_real_run_is_written_by_the_run_and_by_the_command(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    house = pipeline_process.finished(tmp_path_factory)
    (written,) = (house.home / "reports").glob("*.html")
    assert pipeline_process.first_run(tmp_path_factory).json["urls"]["report"] == str(written)
    out = tmp_path / "deep" / "mine.html"
    said = house.say("report", "-o", str(out))
    assert said.out.strip() == str(out)
    tree = Tree(out.read_text())
    assert "3 new champions" in tree.words and "tiny-classifier version 1" in tree.words
    for shown in (
        "Confusion matrix",
        "Calibration",
        "Samples (",
        "near_duplicate",
        "CC0-1.0",
        "fromzero run",
        "naive Bayes",
    ):
        assert shown in tree.words, shown
    assert {f"curve-0-{n}-t" for n in range(3)} <= set(tree.ids)
    assert "there is no run 'nothing'" in house.say("report", "nothing", code=2).err


def test_validation_leads_to_the_data_docs_and_says_what_was_set_aside(tmp_path: Path) -> None:
    made = chain(tmp_path)
    aside = {"s-001": {"documents": 40, "failed": [f"rows {EVIL}"]}}
    verdict = made.add("validate_corpus", expectations=3, data_docs="data_docs/index.html", quarantined=aside,
                       files={"content/verdict.json": {}, "aux/data_docs/index.html": "<p>"})  # fmt: skip
    _, tree = rendered(made, "refused")
    (docs,) = [attrs["href"] for _, attrs in tree.elements if (attrs.get("href") or "").startswith("file:")]
    assert docs == (made.store.local(verdict) / "aux/data_docs/index.html").as_uri() and Path(docs[7:]).is_file()
    assert f"1 shard with 40 documents set aside by validation: s-001. s-001: rows {EVIL}" in tree.words
