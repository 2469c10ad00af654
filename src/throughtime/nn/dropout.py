"""Dropout where the papers put it."""

from torch import nn

from throughtime import config


def between_layers(choice: config.Dropout) -> nn.Module:
    """What stands on the non-recurrent connections: after the embedding, between layers, before the output."""
    return nn.Dropout(choice.rate) if isinstance(choice, config.Zaremba) else nn.Identity()
