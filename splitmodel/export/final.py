"""The end of a run as files for anybody: a peft adapter, a head, a model card that says how to use them."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor, nn

from splitmodel.crossing.scaling import Scaling
from splitmodel.dense_heads import outputs_of
from splitmodel.export.head import head_code, head_import, head_weights
from splitmodel.families import Usage
from splitmodel.lora.adapters import save_adapter
from splitmodel.parts import Backbone, Pooling
from splitmodel.preprocess import Preprocess

if TYPE_CHECKING:
    from peft import PeftModel


# What export_final writes into a folder, beside the card.
HEAD_FILE, ADAPTER_FOLDER, MODEL_FOLDER = "head.safetensors", "adapter", "model"

# By kind of task: a name of the hub for it, and what the card calls the head's outputs.
_PIPELINES = {
    "classification": "image-classification",
    "multi-label": "image-classification",
    "regression": "other",
    "segmentation": "image-segmentation",
    "pixel-regression": "other",
}
_OUTPUTS = {
    "classification": "Classes, in the order of the outputs (logits)",
    "multi-label": "Classes, in the order of the outputs (logits; an image has those above 0)",
    "regression": "Numbers, in the order of the outputs",
    "segmentation": "Classes, in the order of the outputs (logits of every pixel)",
    "pixel-regression": "Outputs of every pixel",
}


@dataclass(frozen=True)
class CardFields:
    """Facts of a model card beyond those that the model itself knows.

    Attributes:
        title: first heading.
        base_model: absolute directory or hub name, as a reader of the card loads it.
        classes: names of the labels, in the order of the logits.
        data: one line on the training data, with its licence where there is one.
        training: one line or paragraph on how it was trained.
        metrics: name → value, for example `test_accuracy`.
        kind: what the model is trained for, as `splitmodel.tasks.TaskKind` names it.
        target_scaling: units of the numbers that the head gives; none of classes.
    """

    title: str
    base_model: str
    _: KW_ONLY
    classes: tuple[str, ...]
    data: str
    training: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    kind: str = "classification"
    target_scaling: Scaling | None = None


def export_final(
    directory: str | Path,
    backbone: Backbone,
    preprocess: Preprocess,
    adapter: "PeftModel | None",
    head: nn.Module,
    card: CardFields,
    *,
    with_base: bool = False,
) -> None:
    """Write `head.safetensors`, `README.md` and what else was trained: `adapter/`, or the whole `model/`.

    The files are written beside `directory` and renamed: it is there whole, or as it was before. `with_base` writes the
    frozen `model/`, too, where it is nowhere else, as one of random weights.

    Raises:
        ValueError: `card.classes` are not as many as the head has labels.
    """
    if len(card.classes) != outputs_of(head):
        raise ValueError(
            f"the head has {outputs_of(head)} labels, the card names {len(card.classes)} classes"
        )
    whole = adapter is None and any(parameter.requires_grad for parameter in backbone.parameters())
    if whole or with_base:
        card = replace(card, base_model=MODEL_FOLDER)
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        new = scratch / "new"
        new.mkdir()
        if whole or with_base:
            state = _own_weights(backbone.transformer)
            backbone.family.save_model(backbone.transformer, backbone.config, state, new / MODEL_FOLDER)
        if adapter is not None:
            adapter.peft_config["default"].base_model_name_or_path = card.base_model
            save_adapter(adapter, new / ADAPTER_FOLDER)
            (new / ADAPTER_FOLDER / "README.md").unlink(
                missing_ok=True
            )  # peft's empty template; the card is one level up
        save_file(
            head_weights(head, backbone.bottleneck, card.target_scaling),
            new / HEAD_FILE,
            metadata={
                "classes": json.dumps(card.classes),
                "pooling": backbone.pooling.kind,
                "task": card.kind,
            },
        )
        (new / "README.md").write_text(
            _card(backbone, preprocess, adapter is not None, head, card), encoding="utf-8"
        )
        if directory.exists():
            directory.rename(scratch / "old")
        new.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _own_weights(transformer: nn.Module) -> dict[str, Tensor]:
    """The weights of a model under the names that they have without an adapter in it."""
    return {
        name.replace(".base_layer.", "."): tensor.detach()
        for name, tensor in transformer.state_dict().items()
        if ".lora_" not in name
    }


def _card(
    backbone: Backbone, preprocess: Preprocess, with_adapter: bool, head: nn.Module, card: CardFields
) -> str:
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in card.metrics.items())
    usage = backbone.family.usage(card.base_model, backbone.config)
    of_transformers = "transformers" in usage.imports
    return f"""---
base_model: {json.dumps(card.base_model)}
library_name: {"peft" if with_adapter else "transformers" if of_transformers else "skysplit"}
pipeline_tag: {_PIPELINES[card.kind]}
tags: [remote-sensing, split-learning, federated-learning{", lora" if with_adapter else ""}]
---

# {card.title}

Base model: `{card.base_model}` ({backbone.family.name}). {card.data}

{card.training}

{_OUTPUTS[card.kind]}: {", ".join(card.classes)}.

{"| metric | value |" if metrics else ""}
{"|---|---|" if metrics else ""}
{metrics}

## Use it{" without SkySplit" if of_transformers else ""}

{_pixels(preprocess)}

```python
{_code(backbone, usage, with_adapter, head, card.kind)}
```
"""


def _pixels(preprocess: Preprocess) -> str:
    """How `pixels` are made."""
    bands = f", bands {', '.join(preprocess.bands)}" if preprocess.bands else ""
    size = f"{preprocess.height} × {preprocess.width}"
    resize = (
        f"images of another size resized to {size} ({preprocess.interpolation}, whole image, antialiased)"
        if preprocess.resize
        else f"images of {size}, never resized"
    )
    shape = f"(batch, {len(preprocess.mean)}, {preprocess.height}, {preprocess.width})"
    return f"""`pixels` are float32 of shape {shape}{bands}:
{resize}, values × {preprocess.rescale_factor!r}, minus mean {list(preprocess.mean)}, divided by std
{list(preprocess.std)}."""


def _code(backbone: Backbone, usage: Usage, with_adapter: bool, head: nn.Module, kind: str) -> str:
    is_dense = not isinstance(backbone.pooling, Pooling)
    functional = "import torch.nn.functional as F\n" if is_dense else ""
    own_import = f"\n{line}" if (line := head_import(head)) else ""
    result = "numbers" if kind.endswith("regression") else "logits"
    outputs = head_code(backbone, head, result).replace("\n", "\n    ")
    peft_import = "from peft import PeftModel\n" if with_adapter else ""
    peft_load = 'model = PeftModel.from_pretrained(model, "adapter").eval()\n' if with_adapter else ""
    hidden = usage.hidden.replace("\n", "\n    ")
    return f"""import torch
{functional}{peft_import}from safetensors.torch import load_file
{usage.imports}{own_import}

model = {usage.model}.eval()
{peft_load}head = load_file("head.safetensors")
with torch.no_grad():
    {hidden}
    {outputs}"""
