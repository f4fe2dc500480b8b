"""The end of a run as files for anybody: a peft adapter, a head, a model card that says how to use them."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors.torch import save_file
from torch import nn

from splitmodel.adapters import save_adapter
from splitmodel.heads import StandardisedHead
from splitmodel.parts import Backbone
from splitmodel.preprocess import Preprocess

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class CardFields:
    """What a model card says beyond what the model itself knows.

    Attributes:
        title: first heading.
        base_model: directory or hub name, as a reader of the card loads it.
        classes: names of the labels, in the order of the logits.
        data: one line on the training data, with its licence where there is one.
        training: one line or paragraph on how it was trained.
        metrics: name → value, for example `test_accuracy`.
    """

    title: str
    base_model: str
    classes: tuple[str, ...]
    data: str
    training: str
    metrics: Mapping[str, float] = field(default_factory=dict)


def export_final(
    directory: str | Path,
    backbone: Backbone,
    preprocess: Preprocess,
    adapter: "PeftModel | None",
    head: nn.Linear,
    card: CardFields,
) -> None:
    """Write `head.safetensors`, `README.md` and what else was trained: `adapter/`, or the whole `model/`.

    The files are written beside `directory` and renamed: it is there whole, or as it was before.

    Raises:
        ValueError: `card.classes` are not as many as the head has labels.
    """
    if len(card.classes) != head.out_features:
        raise ValueError(
            f"the head has {head.out_features} labels, the card names {len(card.classes)} classes"
        )
    if isinstance(head, StandardisedHead):
        head = head.folded()
    whole = adapter is None and any(parameter.requires_grad for parameter in backbone.parameters())
    if whole:
        card = replace(card, base_model="model")
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        if whole:
            cast("PreTrainedModel", backbone.transformer).save_pretrained(new / "model")
        if adapter is not None:
            save_adapter(adapter, new / "adapter")
            (new / "adapter" / "README.md").unlink(
                missing_ok=True
            )  # peft's empty template; the card is one level up
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in head.state_dict().items()},
            new / "head.safetensors",
            metadata={"classes": json.dumps(card.classes), "pooling": backbone.pooling.kind},
        )
        (new / "README.md").write_text(
            _card(backbone, preprocess, adapter is not None, card), encoding="utf-8"
        )
        if directory.exists():
            directory.rename(scratch / "old")
        new.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _card(backbone: Backbone, preprocess: Preprocess, with_adapter: bool, card: CardFields) -> str:
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in card.metrics.items())
    return f"""---
base_model: {json.dumps(card.base_model)}
library_name: {"peft" if with_adapter else "transformers"}
pipeline_tag: image-classification
tags: [remote-sensing, split-learning, federated-learning{", lora" if with_adapter else ""}]
---

# {card.title}

Base model: `{card.base_model}` ({backbone.family.model_type}). {card.data}

{card.training}

Classes, in the order of the logits: {", ".join(card.classes)}.

{"| metric | value |" if metrics else ""}
{"|---|---|" if metrics else ""}
{metrics}

## Use it without SkySplit

`pixels` are float32 of shape (batch, {len(preprocess.mean)}, {preprocess.height}, {preprocess.width}):
bytes × {preprocess.rescale_factor!r}, minus mean {list(preprocess.mean)}, divided by std
{list(preprocess.std)}.

```python
{_usage(backbone, with_adapter, card)}
```
"""


def _usage(backbone: Backbone, with_adapter: bool, card: CardFields) -> str:
    arguments = [repr(card.base_model)]
    if backbone.family.has_pooler:
        arguments.append("add_pooling_layer=False")
    if backbone.family.model_type == "vit_mae":
        arguments.append("mask_ratio=0.0")
    pooling = backbone.pooling
    pooled = "hidden[:, 0]" if pooling.kind == "cls" else f"hidden[:, {pooling.prefix_tokens}:].mean(dim=1)"
    peft_import = "from peft import PeftModel\n" if with_adapter else ""
    peft_load = 'model = PeftModel.from_pretrained(model, "adapter").eval()\n' if with_adapter else ""
    return f"""import torch
{peft_import}from safetensors.torch import load_file
from transformers import AutoModel

model = AutoModel.from_pretrained({", ".join(arguments)}).eval()
{peft_load}head = load_file("head.safetensors")
with torch.no_grad():
    hidden = model(pixel_values=pixels).last_hidden_state
    logits = torch.nn.functional.linear({pooled}, head["weight"], head["bias"])"""
