from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conf.schema.model import ModelConf
from tasks.core.errors import ConfigError
from tasks.pretrain.data.batches import padding
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.setup import make_trainer
from tasks.training.cluster.torchrun import environment
from tasks.training.network.device import set_up
from tasks.training.trainer.trainer import Trainer

MakeJob = Callable[..., PretrainJob]


def trainer_of(job: PretrainJob) -> Trainer:
    return make_trainer(job, set_up(job.conf.run))


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.named.values()]


def test_documents_in_one_sequence_do_not_see_each_other(make_job: MakeJob) -> None:
    network = trainer_of(make_job()).loss_module.model
    network.eval()
    first, other, second = torch.randint(1, 64, (3, 6))
    positions = torch.arange(6).repeat(2)[None]
    with torch.no_grad():
        one = network(input_ids=torch.cat([first, second])[None], position_ids=positions, use_cache=False).logits[0, 6:]
        two = network(input_ids=torch.cat([other, second])[None], position_ids=positions, use_cache=False).logits[0, 6:]
        alone = network(input_ids=second[None]).logits[0]
    assert torch.equal(one, two)
    assert torch.allclose(one, alone, atol=1e-6)


def test_the_loss_falls_below_that_of_a_uniform_guess(make_job: MakeJob) -> None:
    trainer = trainer_of(make_job(tokens=60 * 128))
    losses = [trainer.update().loss for _ in range(60)]
    assert abs(losses[0] - math.log(64)) < 0.1
    assert sum(losses[-10:]) / 10 < math.log(64) - 0.02


@pytest.mark.parametrize("options", [{}, {"optimizer": {"z_loss": 1e-2}}])
def test_accumulated_passes_add_up_to_one_pass(make_job: MakeJob, options: dict[str, object]) -> None:
    results = []
    for size in (8, 3):
        trainer = trainer_of(make_job(run={"micro_batch": size}, **options))
        figures = [trainer.update() for _ in range(3)]
        results.append((figures[-1].loss, figures[-1].norm, weights(trainer)))
    assert math.isclose(results[0][0], results[1][0], rel_tol=1e-5)
    assert math.isclose(results[0][1], results[1][1], rel_tol=1e-4)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(results[0][2], results[1][2], strict=True))


def test_a_batch_with_a_nan_changes_neither_weights_nor_moments(make_job: MakeJob) -> None:
    trainer = trainer_of(make_job())
    trainer.update()
    before = {name: value.clone() for name, value in trainer.tensors(rng=False).items()}
    parameter = next(iter(trainer.named.values()))
    hook = parameter.register_hook(lambda gradient: gradient * math.nan)
    assert trainer.update().skipped
    hook.remove()
    assert all(torch.equal(value, before[name]) for name, value in trainer.tensors(rng=False).items())
    assert not trainer.update().skipped
    assert trainer.skipped == 1


def test_valid_loss_does_not_depend_on_the_micro_batch_and_changes_nothing(make_job: MakeJob) -> None:
    job = make_job(run={"micro_batch": 2})
    trainer = trainer_of(job)
    before = weights(trainer)
    loss = trainer.evaluate()
    assert abs(loss - math.log(64)) < 0.1
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))


def test_a_mixture_decides_how_many_sequences_come_from_each_source(make_job: MakeJob) -> None:
    order = trainer_of(make_job(mixture={"news": 3.0, "talk": 1.0})).data.order
    assert all(sorted(source for source, _ in order.batch(step)) == [0] * 6 + [1] * 2 for step in range(20))
    assert order.names == ("news", "talk")


def test_a_step_counts_labelled_tokens_only_where_there_is_padding(make_job: MakeJob) -> None:
    one, other = (trainer_of(make_job(packing=packing, seed=1)) for packing in ("concat", "best_fit"))
    assert padding(one.data.sources) < 0.01 < padding(other.data.sources)
    assert abs(other.update().loss - math.log(64)) < 0.1
    assert one.data.order.seq_len == other.data.order.seq_len and one.data.order.packing != other.data.order.packing


def test_a_step_reads_the_blocks_that_the_order_names_from_their_sources(make_job: MakeJob) -> None:
    trainer = trainer_of(make_job(mixture={"news": 3.0, "talk": 1.0}))
    picks = trainer.data.order.batch(5)
    found = trainer.data.read(picks, trainer.data.sources)
    for row, (source, block) in enumerate(picks):
        for which, wanted in enumerate(trainer.data.sources[source].batch([block])):
            assert np.array_equal(found[which][row], wanted[0])


def test_a_source_too_light_for_one_sequence_of_the_segment_is_refused_and_one_for_each_batch_is_not(
    make_job: MakeJob,
) -> None:
    sequences = 20 * 8
    trainer = trainer_of(make_job(mixture={"news": sequences - 1.0, "talk": 1.0}))
    read = [source for step in range(20) for source, _ in trainer.data.order.batch(step)]
    assert read.count(1) == 1 and len(read) == sequences
    with pytest.raises(ConfigError, match=r"raise pretrain\.segments\.main\.mixture\.talk or .*main\.tokens"):
        trainer_of(make_job(mixture={"news": 1000.0, "talk": 1.0}))


def test_a_mixture_of_unknown_sources_is_refused_with_their_names(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match=r"\['web'\].*\['news', 'talk'\]"):
        trainer_of(make_job(mixture={"web": 1.0}))


def test_epochs_say_how_often_each_source_is_read(make_job: MakeJob) -> None:
    trainer = trainer_of(make_job(epochs={"news": 1.5, "talk": 0.5}))
    news, talk = trainer.data.sources
    assert trainer.data.order.counts == (round(1.5 * news.blocks), round(0.5 * talk.blocks))
    assert abs(trainer.update().loss - math.log(64)) < 0.1


def test_a_budget_beyond_the_epochs_is_refused_with_both_numbers(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match=r"main.tokens=2,560 is more than .*main.epochs gives .* \d+ tokens"):
        trainer_of(make_job(epochs={"news": 0.01}))
    with pytest.raises(ConfigError, match=r"epochs names \['web'\]"):
        trainer_of(make_job(epochs={"web": 1.0}))
    with pytest.raises(ValueError, match="set one of them to null"):
        make_job(epochs={"news": 1.0}, mixture={"news": 1.0})


def test_an_architecture_that_transformers_does_not_know_is_a_config_error(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match="lama"):
        trainer_of(make_job(model=ModelConf(architecture="lama")))


def test_a_sequence_longer_than_the_positions_is_a_config_error(make_job: MakeJob) -> None:
    model = ModelConf(config={"max_position_embeddings": 8, "hidden_size": 8, "num_attention_heads": 1})
    with pytest.raises(ConfigError, match="max_position_embeddings=8"):
        trainer_of(make_job(model=model))


def test_a_start_with_another_model_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    from tasks.pretrain.trainer import segment_export

    trainer = trainer_of(make_job())
    segment_export.write_model(trainer, tmp_path, tmp_path / "start" / "model")
    (tmp_path / "start" / "state").mkdir()
    (tmp_path / "start" / "state" / "state.json").write_text('{"loader": {}, "tokens": 1}')
    wider = ModelConf(config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2})
    with pytest.raises(ConfigError, match=r"another network than the recipe's .*hidden_size 16 and here 32"):
        trainer_of(make_job(model=wider, start=str(tmp_path / "start")))


BROKEN_RANK = """
    import hashlib, math, os, sys, torch
    from pathlib import Path
    from tasks.training.network.device import set_up
    from tasks.pretrain.pretrain_job import PretrainJob
    from tasks.pretrain.trainer.setup import make_trainer
    job = PretrainJob.read(Path(sys.argv[1]))
    place = set_up(job.conf.run)
    trainer = make_trainer(job, place)
    accumulate = trainer._accumulate
    def broken(rows, labelled):
        found = accumulate(rows, labelled)
        if trainer.step == 2 and place.rank == 1:
            next(iter(trainer.named.values())).grad.mul_(math.nan)
        return found
    trainer._accumulate = broken
    skipped = [trainer.update().skipped for _ in range(4)]
    digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trainer.named.values())).hexdigest()
    Path(sys.argv[2], str(place.rank)).write_text(f"{skipped} {digest}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)  # as the worker does: torch's threads may abort a process that leaves through its destructors
"""


def test_a_nan_on_one_process_skips_the_update_on_all_and_keeps_their_weights_equal(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(run={"processes": 2})
    (tmp_path / "script.py").write_text(textwrap.dedent(BROKEN_RANK))
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*agent, str(tmp_path / "script.py"), str(job.write()), str(tmp_path)]
    subprocess.run(command, env=environment(job), check=True)
    first, second = ((tmp_path / rank).read_text() for rank in "01")
    assert first == second
    assert first.startswith("[False, False, True, False]")
