"""Fine-tuning: chat and classification, both from the pretrained model."""

from __future__ import annotations

from conf.schema.finetune import ChatConf, ClassifyConf
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Retry, Stats, Workdir, step

NEEDS = ("torch", "transformers", "peft", "accelerate", "safetensors", "polars", "numpy")


@step(version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_chat(model: Artifact, docs: tuple[Artifact, ...], conf: ChatConf, work: Workdir) -> Stats:
    """Teach the model to answer: pretrained model, conversations → model/ with LoRA merged."""
    from tasks.finetune import chat

    return chat.run(model.path, [doc.path for doc in docs], conf, work)


@step(version="1", track=True, resources=Cpu(2, memory_gb=3.0), retry=Retry(times=3), needs=NEEDS)
def finetune_classifier(model: Artifact, docs: tuple[Artifact, ...], conf: ClassifyConf, work: Workdir) -> Stats:
    """Teach the model to tell labels apart: pretrained model, labelled documents → model/ with a head."""
    from tasks.finetune import classify

    return classify.run(model.path, [doc.path for doc in docs], conf, work)
