"""Pixio: a masked autoencoder with several class tokens, the first of which `cls` pooling reads."""

from typing import Any

from splitmodel.families.protocol import IMAGENET
from splitmodel.families.transformers.transformer_family import TransformersFamily


class Pixio(TransformersFamily):
    """`pixio`."""

    def prefix_tokens(self, config: Any) -> int:
        """Its class tokens."""
        return config.n_cls_tokens


PIXIO = Pixio("pixio", "PixioModel", any_image_size=True, statistics=IMAGENET)
