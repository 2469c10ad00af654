"""The schema: every setting, its type and its range, and one clear sentence per mistake.

The YAML files under `conf/` give the values, these dataclasses say what is allowed. Nothing heavy is imported here, so
that a mistake is reported at once.
"""

from throughtime.config.check import *  # noqa: F403
from throughtime.config.data import *  # noqa: F403
from throughtime.config.decode_config import *  # noqa: F403
from throughtime.config.idle import *  # noqa: F403
from throughtime.config.measuring import *  # noqa: F403
from throughtime.config.mistakes import *  # noqa: F403
from throughtime.config.model import *  # noqa: F403
from throughtime.config.ranges import *  # noqa: F403
from throughtime.config.search import *  # noqa: F403
from throughtime.config.train_config import *  # noqa: F403
from throughtime.config.training import *  # noqa: F403
