"""One training process's state and what it does in one step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from tasks.training.job import TrainConf
from tasks.training.network import activation_checkpointing, fp8, model, parallelize, tensor_parallel
from tasks.training.network.device import Place
from tasks.training.network.model import LossModule
from tasks.training.trainer import optimizer
from tasks.training.trainer.schedule import learning_rate
from tasks.training.trainer.spike_guard import Guard

Inputs = tuple[npt.NDArray[Any], ...]
"""What the loss is computed of: arrays with a row for each sequence, the labels last."""


class Data(Protocol):
    """What is trained on: all of it follows from the step, so that its state is a few integers."""

    def share(self, step: int, rank: int, world: int) -> Inputs:
        """What process `rank` of `world` computes of the batch of step `step` (from 0)."""

    def held_out(self, rank: int, world: int) -> Inputs:
        """Its share of the valid part: equally many rows on each process, those to spare without labels."""


@dataclass(frozen=True)
class Figures:
    """What one step came to, the same on all processes."""

    loss: float
    """Nats per label of the global batch."""
    norm: float
    rate: float
    skipped: bool
    flags: tuple[bool, ...]
    """The flags given to the step, set if any process had set them."""


class Trainer:
    """Network, optimizer, guard and data of one process."""

    def __init__(
        self,
        conf: TrainConf,
        place: Place,
        loss_module: LossModule,
        data: Data,
    ) -> None:
        self.conf, self.place, self.data, network = conf, place, data, loss_module.model
        loss_module.train()
        if place.fp8:
            fp8.convert(model.blocks(network))
        activation_checkpointing.install(
            model.blocks(network), conf.run.activation_checkpointing, conf.run.checkpointing_budget
        )
        if place.compile:
            for block in model.blocks(network):
                block.compile()
        self.module = parallelize.parallelize(loss_module, place)
        self.loss_module = parallelize.inner(self.module)
        self.named = model.parameters(self.loss_module)
        looked_up = partial(model.looked_up, self.loss_module)
        self.optimizer = optimizer.make(self.named, conf.optimizer, looked_up, loss_module.rates)
        averaged = self.named.items() if conf.segment.ema else ()
        self.ema = {name: parameter.detach().clone() for name, parameter in averaged}
        """The average of the weights by name, where one is kept."""
        self.guard = Guard(conf.optimizer.guard_window, conf.optimizer.guard_sigma)
        self.step = self.skipped = 0
        self.micro_batch = conf.run.micro_batch
        """Sequences in one forward pass."""
        self.beat: Callable[[], None] = lambda: None
        """Called before each forward pass: a sign of life."""
        self.reading: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        """Entered while the data of a step are read, for whoever measures."""
        self.seed_rng(0)

    def seed_rng(self, step: int) -> None:
        """Seed dropout for this process from `step` on, where no saved state says otherwise."""
        torch.manual_seed((self.conf.seed * 1_000_003 + step) * 1_009 + self.place.data_rank)

    def tensors(self, *, rng: bool = True) -> dict[str, Tensor]:
        """Everything that a checkpoint holds as tensors, by name; views that loading fills in place."""
        state = {f"model.{name}": parameter.detach() for name, parameter in self.named.items()}
        state |= {f"buffer.{name}": value for name, value in model.buffers(self.loss_module).items()}
        state |= {f"optimizer.{name}": value for name, value in self.optimizer.moments(self.named).items()}
        state |= {f"ema.{name}": value for name, value in self.ema.items()}
        if rng:
            state[f"rng.{self.place.rank}"] = torch.get_rng_state()
            if self.place.device.type == "cuda":
                state[f"cuda_rng.{self.place.rank}"] = torch.cuda.get_rng_state()
        return state

    def set_rng(self, state: dict[str, Tensor]) -> None:
        """Put the random generators where a loaded state says."""
        torch.set_rng_state(state[f"rng.{self.place.rank}"])
        if self.place.device.type == "cuda":
            torch.cuda.set_rng_state(state[f"cuda_rng.{self.place.rank}"])

    def update(self, *flags: bool) -> Figures:
        """Make one optimizer step; `flags` are shared with all processes on the way."""
        with self.reading():
            rows = self.data.share(self.step, self.place.data_rank, self.place.data_world)
        labelled = self._sum([self.loss_module.weight(rows)])[0]
        nats, squares = self._accumulate(rows, labelled or 1.0)
        total = self._sum([nats, squares, *map(float, flags)])
        loss = (total[0] + self.conf.optimizer.z_loss * total[1]) / (labelled or 1.0)
        parameters = [parameter for parameter in self.named.values() if parameter.grad is not None]
        tensor_parallel.whole_gradients(parameters)
        self.optimizer.penalise(parameters)
        groups = tensor_parallel.by_mesh(parameters)
        norm = tensor_parallel.norm_of(groups)
        skip = self._sum([float(self.guard.judge(loss, float(norm)))])[0] > 0
        for group in groups:
            torch.nn.utils.clip_grads_with_norm_(group, self.conf.optimizer.clip, norm)
        rate = learning_rate(self.step + 1, self.conf.segment)
        if not skip:
            self.optimizer.update(rate)
            self._average()
        self.optimizer.zero_grad()
        self.step += 1
        self.skipped += skip
        flagged = tuple(flag > 0 for flag in total[2:])
        return Figures(total[0] / (labelled or 1.0), float(norm), rate, skip, flagged)

    def rehearse(self, rows: Inputs) -> None:
        """Gradients of these rows in one pass, to see whether they fit; the caller forgets them."""
        usual, self.micro_batch = self.micro_batch, len(rows[0])
        try:
            self._accumulate(rows, 1.0)
        finally:
            self.micro_batch = usual

    def _accumulate(self, rows: Inputs, labelled: float) -> tuple[float, float]:
        """Gradients of the share of this process, synchronised once, with the last pass; (nats, squares) summed."""
        pieces = list(self._pieces(rows))
        nats = squares = torch.zeros((), device=self.place.device)
        for number, piece in enumerate(pieces):
            with self._synchronised(number == len(pieces) - 1), self._precision():
                loss, square = self.module(*piece)
                # Both ddp and fsdp average over processes; the sum over all is what the batch's mean is made of.
                scaled = (loss + self.conf.optimizer.z_loss * square) * (self.place.data_world / labelled)
                scaled.backward()
            nats, squares = nats + loss.detach(), squares + square.detach()
        return float(nats), float(squares)

    @torch.no_grad()
    def _average(self) -> None:
        for name, value in self.ema.items():
            value.lerp_(self.named[name].detach(), 1 - float(self.conf.segment.ema or 0))

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The average in the place of the weights, where one is kept."""
        kept = {name: self.named[name].detach().clone() for name in self.ema}
        for name, value in self.ema.items():
            self.named[name].copy_(value)
        yield
        if kept and self.place.parallel == "fsdp" and self.place.data_world > 1:
            self.module.reshard()  # type: ignore[operator]  # else the next pass would still compute on the average
        for name, value in kept.items():
            self.named[name].copy_(value)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """The network as it is judged (no dropout, the average of the weights where one is kept), without gradients."""
        self.loss_module.eval()
        with torch.no_grad(), self._averaged(), self._precision():
            yield
        self.loss_module.train()

    def evaluate(self) -> float:
        """Nats per label of the valid part, the work shared by all processes."""
        # FSDP gathers weights in every forward pass: all processes make equally many.
        rows = self.data.held_out(self.place.data_rank, self.place.data_world)
        with self.looking():
            nats = sum(float(self.loss_module(*piece)[0]) for piece in self._pieces(rows))
        total = self._sum([nats, self.loss_module.weight(rows)])
        return total[0] / (total[1] or 1.0)

    def _pieces(self, rows: Inputs) -> Iterator[list[Tensor]]:
        size = self.micro_batch
        for start in range(0, len(rows[0]), size):
            self.beat()
            yield [torch.from_numpy(part[start : start + size]).to(self.place.device) for part in rows]

    @contextlib.contextmanager
    def _synchronised(self, last: bool) -> Iterator[None]:
        world = self.place.data_world
        if world == 1 or last or self.place.parallel == "ddp":
            quiet = world > 1 and not last
            with self.module.no_sync() if quiet else contextlib.nullcontext():  # type: ignore[operator]
                if world > 1 and self.place.parallel == "fsdp":
                    self.module.set_requires_gradient_sync(True)  # type: ignore[operator]
                yield
        else:
            self.module.set_requires_gradient_sync(False)  # type: ignore[operator]
            yield

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        half = self.place.precision != torch.float32
        return torch.autocast(self.place.device.type, self.place.precision, enabled=half)

    def _sum(self, values: list[float]) -> list[float]:
        """Sums over the processes that read different sequences, the same bits on each."""
        if self.place.world == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64, device=self.place.device)
        dist.all_reduce(summed)
        return [float(value) / self.place.tensor for value in summed.tolist()]

    def full(self, value: Tensor) -> Tensor:
        """A tensor whole and on the CPU, wherever its shards are; to be called on all processes."""
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        return whole.detach().cpu().contiguous()
