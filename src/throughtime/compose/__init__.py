"""From the command line to plain settings, by Hydra."""

from throughtime.compose.composing import CONF, composed, settings
from throughtime.compose.ending import one_sentence
from throughtime.compose.preflight import ready
from throughtime.compose.resuming import continued

__all__ = ["CONF", "composed", "continued", "one_sentence", "ready", "settings"]
