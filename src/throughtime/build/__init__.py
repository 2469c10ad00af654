"""Config -> objects: the only place that knows every layer; `build.parts` apart, as decoding needs no Lightning."""

from throughtime.build.decodable import Decodable, from_checkpoints
from throughtime.build.devices import device, precision, refuse_absent
from throughtime.build.models import model

__all__ = [
    "Decodable",
    "device",
    "from_checkpoints",
    "model",
    "precision",
    "refuse_absent",
]
