"""Overrides -> settings, by Hydra from the files under conf/; unchecked."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from throughtime import config
from throughtime.compose.command_line import place_of

_BESIDE = Path(__file__).parents[1] / "conf"  # in a wheel; in a checkout the folder is at the top
CONF = str((_BESIDE if _BESIDE.is_dir() else Path(__file__).parents[3] / "conf").resolve())
SCHEMAS: dict[str, type] = {"train": config.TrainConfig, "decode": config.DecodeConfig}


def settings(program: str, values: DictConfig) -> dict[str, Any]:
    """The composed config as plain dicts and lists, interpolations resolved; each group has what its choice knows."""
    plain = OmegaConf.to_container(values, resolve=True)
    named = {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
    return config.without_leftovers(named, SCHEMAS[program])


class Job(NamedTuple):
    """One job of a command line: its settings, unchecked, and its folder below that of the sweep."""

    settings: dict[str, Any]
    subdir: str


def composed(program: str, overrides: list[str]) -> dict[str, Any]:
    """The settings of `program` (train or decode) under the overrides, unchecked.

    Raises:
        Mistake: they can't be composed.
    """
    return job_of(program, overrides, 0).settings


def job_of(program: str, overrides: list[str], number: int) -> Job:
    """The sweep's job of that number.

    Raises:
        Mistake: it can't be composed.
    """
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            values = compose(program, overrides, return_hydra_config=True)
        with open_dict(values):
            values.hydra.job.num, values.hydra.job.id = number, f"{number}"
        HydraConfig.instance().set_config(values)  # for ${hydra:job.num} and the like
        plain = settings(program, OmegaConf.masked_copy(values, [str(key) for key in values if key != "hydra"]))
        return Job(plain, str(values.hydra.sweep.subdir))
    except (HydraException, OmegaConfBaseException) as error:
        raise config.Mistake(
            f"{' '.join(overrides)} can't be composed: {str(error).strip().splitlines()[0].rstrip('.')}."
        ) from error


def choices_by_group() -> dict[str, list[str]]:
    """The groups under conf/ and their choices."""
    folders = sorted(folder for folder in Path(CONF).iterdir() if folder.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def keys_in(group: str, choice: str) -> list[str]:
    """The settings that a choice's file names."""
    return [str(key) for key in OmegaConf.load(f"{CONF}/{group}/{choice}.yaml")]


def values_of(override: Override) -> list[str]:
    """The values of an override as written, a single one unless it sweeps."""
    if isinstance(chosen := override.value(), Glob):
        return list(chosen.filter(choices_by_group().get(override.key_or_group, [])))
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.input_line.partition("=")[2] if override.input_line else ""]


def jobs_of(overrides: list[Override]) -> Iterator[list[str]]:
    """The override lists of all jobs; intervals, which only some sweepers know, are left at their default."""
    axes = []
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            continue
        swept = override.is_sweep_override()
        axes.append(
            [f"{place_of(override)}={value}" for value in values_of(override)] if swept else [override.input_line]
        )
    return (list(job) for job in product(*axes))  # type: ignore[arg-type]


def keys_of(values: dict[str, Any], prefix: str = "") -> list[str]:
    """All settings as dotted names, groups included."""
    found = []
    for key, value in values.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += keys_of(value, f"{prefix}{key}.")
    return found
