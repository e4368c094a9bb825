from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from conf.schema.finetune import FinetuneRun
from tasks import tokenize
from tasks.core.errors import ConfigError, DataError
from tasks.core.workdir import Workdir
from tasks.finetune import chat_template, export
from tasks.finetune.examples import next_tokens
from tasks.formats.tokens import IGNORE
from tasks.models.chat import chat_training, windows
from tasks.models.chat.chat_options import ChatConf
from tests.tasks.tiny_model import TEMPLATE, chat_rows, labelled_rows, lora, table

CONF = ChatConf(
    batch_size=8,
    max_length=48,
    eval_every=8,
    method=lora(2),
    run=FinetuneRun(device="cpu", threads=1),
)


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path) -> Any:
    return export.load_tokenizer(model_dir)


def test_exactly_the_assistants_tokens_and_their_end_carry_labels(tokenizer: Any) -> None:
    conversation = [
        {"role": "user", "content": "say axis"},
        {"role": "assistant", "content": "axis!"},
        {"role": "user", "content": "say shape, please"},
        {"role": "assistant", "content": "shape of course"},
    ]
    rows = chat_training.examples(table([{"text": "t", "messages": conversation}]), tokenizer, 200).rows
    (row,) = rows
    plain = [(False, "<|user|>say axis<|end|><|assistant|>"), (True, "axis!<|end|>")]
    plain += [(False, "<|user|>say shape, please<|end|><|assistant|>"), (True, "shape of course<|end|>")]
    expected = [
        token if answer else IGNORE
        for answer, text in plain
        for token in tokenizer(text, add_special_tokens=False)["input_ids"]
    ]
    assert row["labels"] == expected
    assert tokenizer.decode(row["input_ids"]) == "".join(text for _, text in plain)


def test_answers_that_do_not_fit_are_cut_and_the_share_that_carries_no_loss_is_said(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = [{"role": "user", "content": "say"}, {"role": "assistant", "content": "axis, of course, and more of it"}]
    rows, answers = table([{"text": f"{n}", "messages": talk * (n + 1)} for n in range(3)]), 6
    found = chat_training.examples(rows, tokenizer, 8)
    assert found.cut == answers and 0 < found.answer_tokens < 0.9 * found.written
    stats = chat_training.said(windows.Taken(rows, 0, 0), found, 8)
    assert stats["answer_tokens_left_out_share"] == pytest.approx(1 - found.answer_tokens / found.written, abs=1e-6)
    (warned,) = stats["warnings"]
    assert f"{found.left_out:.1%} of the answers' tokens carry no loss" in warned["text"]
    assert "models.NAME.train.max_length=8" in warned["option"]
    assert f"{answers} answers cut" in capsys.readouterr().out


def test_nothing_is_warned_of_where_all_answers_carry_a_loss(tokenizer: Any) -> None:
    rows = table(chat_rows(5, 0))
    stats = chat_training.said(windows.Taken(rows, 0, 3), chat_training.examples(rows, tokenizer, 48), 48)
    assert (stats["answer_tokens_left_out"], stats["warnings"], stats["conversations_beyond"]) == (0, [], 3)
    assert stats["answers"].startswith("100.0% of ") and "3 conversations beyond" in stats["answers"]


def test_conversations_that_nobody_answers_are_counted_with_that_reason(tmp_path: Path, tokenizer: Any) -> None:
    asked = [{"text": f"q {n}", "messages": [{"role": "user", "content": f"q {n}"}] * n} for n in (1, 2)]
    path = tmp_path / "docs.parquet"
    table(chat_rows(5, 0) + asked).write_parquet(path)
    taken = windows.conversations([path], 4)
    assert (taken.table.height, taken.without_answer, taken.beyond, taken.found) == (4, 2, 1, 7)
    stats = chat_training.said(taken, chat_training.examples(taken.table, tokenizer, 48), 48)
    assert "2 of 7 conversations have no answer of the assistant" in stats["warnings"][0]["text"]


def test_no_example_is_longer_than_max_length(tokenizer: Any) -> None:
    rows = chat_training.examples(table(chat_rows(20, 0)), tokenizer, 40).rows
    assert rows and all(len(row["input_ids"]) == len(row["labels"]) <= 40 for row in rows)


@pytest.mark.parametrize("length", [200, 48, 20])
def test_a_template_without_marks_gives_the_examples_of_its_marked_twin(
    model_dir: Path, tokenizer: Any, length: int
) -> None:
    stock = export.load_tokenizer(model_dir)
    stock.chat_template = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    rows = table(chat_rows(30, 0))
    marked, found = (chat_training.examples(rows, one, length) for one in (tokenizer, stock))
    assert found == marked and found.written > 0
    assert chat_template.stop_id(stock) == chat_template.stop_id(tokenizer)


@pytest.mark.parametrize(("template", "says"), [("", "no chat template"), ("{{ messages }}", "generation")])
def test_a_template_that_marks_no_answers_is_a_config_error(model_dir: Path, template: str, says: str) -> None:
    tokenizer = export.load_tokenizer(model_dir)
    tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=says):
        chat_template.check_template(tokenizer)


def test_a_conversation_that_the_template_refuses_is_named(model_dir: Path) -> None:
    tokenizer = export.load_tokenizer(model_dir)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}" + TEMPLATE
    bad = table(chat_rows(1, 0))
    with pytest.raises(DataError, match=bad["id"][0]):
        chat_training.examples(bad, tokenizer, 64)


def test_the_stop_token_is_read_from_the_template(model_dir: Path, tokenizer: Any) -> None:
    assert chat_template.stop_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|end|>")
    endless = export.load_tokenizer(model_dir)
    endless.chat_template = TEMPLATE.replace("<|end|>{% endgeneration %}", "{% endgeneration %}")
    with pytest.raises(ConfigError, match="special token"):
        chat_template.stop_id(endless)


@pytest.mark.parametrize("path", sorted(Path(tokenize.__file__).parent.glob("templates/*.jinja")), ids=lambda p: p.stem)
def test_every_shipped_template_marks_the_answers_and_their_end(model_dir: Path, path: Path) -> None:
    tokenizer = export.load_tokenizer(model_dir)
    tokenizer.chat_template = path.read_text()
    turns = [("user", "say axis"), ("assistant", "axis!"), ("user", "why?"), ("assistant", "so")]
    ids, mask = chat_template.render(tokenizer, [{"role": role, "content": text} for role, text in turns])
    written = tokenizer.decode([token for token, flag in zip(ids, mask, strict=True) if flag])
    end = tokenizer.decode([chat_template.stop_id(tokenizer)])
    assert written == f"axis!{end}so{end}"


def test_padding_on_the_right_does_not_change_the_loss(model_dir: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    rows = chat_training.examples(table(chat_rows(6, 0)), tokenizer, 64).rows
    ids, _ = next_tokens(0)(rows)
    with torch.no_grad():
        together = model(input_ids=torch.from_numpy(ids)).logits
        alone = [model(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in rows]
    for padded, single in zip(together, alone, strict=True):
        torch.testing.assert_close(padded[: len(single)], single, atol=1e-5, rtol=1e-4)


def test_conversations_are_taken_in_order_of_id_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "docs.parquet"
    everything = table(chat_rows(9, 0) + labelled_rows(9, 0))
    everything.write_parquet(path)
    ids = everything.filter(pl.col("messages").is_not_null())["id"].sort().to_list()
    assert windows.conversations([path], 4).table["id"].to_list() == ids[:4]
    assert windows.conversations([path], None).table["id"].to_list() == ids


def test_without_conversations_it_is_the_data_that_are_wrong(model_dir: Path, tmp_path: Path) -> None:
    for part in ("train", "valid"):
        (tmp_path / "docs" / part).mkdir(parents=True)
        table(labelled_rows(3, 0)).write_parquet(tmp_path / "docs" / part / "docs.parquet")
    with pytest.raises(DataError, match="train part holds no conversation"):
        chat_training.run(model_dir, [tmp_path / "docs"], CONF, Workdir(tmp_path / "work"))


def test_without_answers_the_reason_is_that_nobody_answers(model_dir: Path, tmp_path: Path) -> None:
    asked = [{"text": "q", "messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "r"}]}]
    for part in ("train", "valid"):
        (tmp_path / "docs" / part).mkdir(parents=True)
        table(asked).write_parquet(tmp_path / "docs" / part / "docs.parquet")
    with pytest.raises(DataError, match="no conversation with an answer: in all its 1 the assistant says nothing"):
        chat_training.run(model_dir, [tmp_path / "docs"], CONF, Workdir(tmp_path / "work"))


def test_an_automatic_length_is_that_of_the_longest_conversation_or_the_context(tokenizer: Any) -> None:
    rows = table(chat_rows(9, 0))
    most = max(len(chat_template.render(tokenizer, turns)[0]) for turns in rows["messages"])
    assert chat_training.longest(rows, tokenizer, None) == most == chat_training.longest(rows, tokenizer, most + 1)
    assert chat_training.longest(rows, tokenizer, most - 1) == most - 1


@pytest.fixture(scope="module")
def tuned(model_dir: Path, docs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workdir, Any]:
    work = Workdir(tmp_path_factory.mktemp("chat"))
    work.make()
    return work, chat_training.run(
        model_dir, [docs_dir], CONF.model_copy(update={"learning_rate": 0.02, "epochs": 3}), work
    )


def test_training_on_answers_lowers_the_loss_on_held_out_answers(tuned: tuple[Workdir, Any]) -> None:
    rows = [json.loads(line) for line in tuned[0].metrics_file.read_text().splitlines()]
    losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert losses[-1] == tuned[1]["metrics"]["valid_loss"] < losses[0] - 0.05


def test_the_adapters_are_merged_into_a_plain_causal_model(tuned: tuple[Workdir, Any], model_dir: Path) -> None:
    folder = tuned[0].content / "model"
    merged, base = (AutoModelForCausalLM.from_pretrained(path) for path in (folder, model_dir))
    assert merged.state_dict().keys() == base.state_dict().keys()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(merged.state_dict()[name], base.state_dict()[name])
    assert merged.config.use_cache
    assert chat_template.stop_id(export.load_tokenizer(folder)) in merged.generation_config.eos_token_id


def test_only_special_tokens_embeddings_change(tuned: tuple[Workdir, Any], model_dir: Path) -> None:
    folder = tuned[0].content / "model"
    merged, base = (AutoModelForCausalLM.from_pretrained(path) for path in (folder, model_dir))
    changed = (merged.get_input_embeddings().weight != base.get_input_embeddings().weight).any(dim=1).nonzero()
    assert set(changed.flatten().tolist()) <= {0, 1, 2, 3} and len(changed) > 0
    assert torch.equal(merged.get_output_embeddings().weight, merged.get_input_embeddings().weight)


def test_the_tokenizers_files_are_copied_byte_for_byte(tuned: tuple[Workdir, Any], model_dir: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tuned[0].content / "model" / name).read_bytes() == (model_dir / name).read_bytes()


def test_examples_that_are_as_short_as_the_message_says_fit_the_context(model_dir: Path) -> None:
    context = export.context_of(model_dir)
    assert context is not None
    with pytest.raises(ConfigError, match=rf"context, {context}: lower models\.NAME\.train\.max_length"):
        export.check_context(model_dir, context + 1)
    export.check_context(model_dir, context)
