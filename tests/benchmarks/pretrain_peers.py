"""The same training as others do it, measured: `python tests/benchmarks/pretrain_peers.py JOB FOLDER`.

Nothing of fromzero is imported. FOLDER/spec.json says the sizes; see tests/benchmarks/pretrain.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Steps
from torch.utils.data import DataLoader, Dataset


class Blocks(Dataset):  # type: ignore[type-arg]
    """The token files cut into blocks, end to end; `more` tokens of the next block with each."""

    def __init__(self, spec: dict[str, Any], more: int = 0) -> None:
        files = [np.fromfile(file, np.uint16) for file in spec["files"]]
        self.tokens, self.size, self.more = np.concatenate(files), spec["seq_len"], more

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.size

    def __getitem__(self, number: int) -> Any:
        start = number * self.size
        ids = torch.from_numpy(self.tokens[start : start + self.size + self.more].astype(np.int64))
        return ids if self.more else {"input_ids": ids, "labels": ids}


def transformers(spec: dict[str, Any], out: Path, steps: int, save_every: int = 0, resume: bool = False) -> Any:
    """transformers' Trainer on a llama, with its own loss, loader and fused AdamW."""
    from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    measured = Steps()

    class Ticking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            measured.tick()

    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **spec["llama"])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    saving = {"save_strategy": "steps", "save_steps": save_every} if save_every else {"save_strategy": "no"}
    arguments = TrainingArguments(
        str(out), max_steps=steps, per_device_train_batch_size=spec["batch"], learning_rate=spec["rate"],
        use_cpu=True, bf16=spec["precision"] == "bf16", optim="adamw_torch_fused", max_grad_norm=1.0,
        logging_steps=10, report_to="none", disable_tqdm=True, **saving,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Blocks(spec), callbacks=[Ticking()])
    trainer._save_checkpoint = measured.stall(trainer._save_checkpoint)  # type: ignore[method-assign]
    loss = trainer.train(resume_from_checkpoint=resume).training_loss
    return measured, sum(parameter.numel() for parameter in model.parameters()), loss


def litgpt(spec: dict[str, Any], out: Path, steps: int, save_every: int = 0, resume: bool = False) -> Any:
    """litgpt's pretraining, which compiles the whole model."""
    import lightning
    from litgpt import pretrain
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule

    measured, llama, parameters = Steps(), spec["llama"], []

    class Ticking:
        def on_after_optimizer_step(self, **_: Any) -> None:
            measured.tick()

    class Loader(DataLoader):  # type: ignore[type-arg]
        def state_dict(self) -> dict[str, Any]:  # else the whole loader is pickled, which is then refused on resuming
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    class Tokens(DataModule):
        def connect(self, tokenizer: Any = None, batch_size: int = 1, max_seq_length: int | None = None) -> None:
            self.batch = batch_size

        def train_dataloader(self) -> Any:
            return Loader(Blocks(spec, 1), self.batch, shuffle=True, drop_last=True)

        val_dataloader = train_dataloader

    config = Config(
        name="bench", block_size=spec["seq_len"], n_layer=llama["num_hidden_layers"], n_embd=llama["hidden_size"],
        vocab_size=llama["vocab_size"], padded_vocab_size=llama["vocab_size"], n_head=llama["num_attention_heads"],
        norm_class_name="RMSNorm", norm_eps=llama["rms_norm_eps"], parallel_residual=False, bias=False,
        rotary_percentage=1.0, mlp_class_name="LLaMAMLP", intermediate_size=llama["intermediate_size"],
    )  # fmt: skip
    tokens = steps * spec["batch"] * spec["seq_len"]
    train = TrainArgs(
        save_interval=save_every or None, log_interval=10, global_batch_size=spec["batch"], max_norm=1.0,
        micro_batch_size=spec["batch"], lr_warmup_steps=10, max_tokens=tokens, tie_embeddings=True, min_lr=0.0,
        max_seq_length=spec["seq_len"],
    )  # fmt: skip
    looks = EvalArgs(interval=10**9, max_iters=1, initial_validation=False, final_validation=False)
    count, keep = pretrain.num_parameters, measured.stall(pretrain.save_checkpoint)
    pretrain.num_parameters = lambda model: parameters.append(count(model)) or parameters[-1]
    pretrain.save_checkpoint = lambda fabric, state, *rest: keep(fabric, state, *rest) if save_every else None
    pretrain.save_hyperparameters = lambda *_: None  # it reads the command line, which is not litgpt's here
    fabric = lightning.Fabric(
        accelerator="cpu", devices=1, precision="bf16-mixed" if spec["precision"] == "bf16" else "32-true",
        callbacks=[Ticking()],
    )  # fmt: skip
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": spec["rate"], "weight_decay": 0.1}}
    pretrain.main(
        fabric=fabric, devices=1, seed=0, initial_checkpoint_dir=None, resume="auto" if resume else False,
        config=config, data=Tokens(), out_dir=out, tokenizer_dir=None, tokenizer=None, train=train, eval=looks,
        optimizer=optimizer,
    )  # fmt: skip
    return measured, parameters[0], None


def main(job: str, folder: Path) -> dict[str, Any]:
    """One job of NAME_speed, NAME_stall and, after that, NAME_resume."""
    name, _, what = job.rpartition("_")
    spec, out = json.loads((folder / "spec.json").read_text()), folder / f"out-{name}"
    if what != "resume":
        shutil.rmtree(out, ignore_errors=True)
    saved = spec["saves"] * spec["save_every"]
    asked: dict[str, Any] = {
        "speed": {"steps": spec["steps"]},
        "stall": {"steps": saved, "save_every": spec["save_every"]},
        "resume": {"steps": saved + 2, "resume": True},
    }[what]
    measured, parameters, loss = globals()[name](spec, out, **asked)
    return {"parameters": parameters, "loss": loss, **measured.found(spec["skip"] if what == "speed" else 1)}


if __name__ == "__main__":
    print("\n" + json.dumps(main(sys.argv[1], Path(sys.argv[2]))), flush=True)
    os._exit(0)
