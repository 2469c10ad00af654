"""A command line checked as a whole: every slip is reported in one sentence before a job starts."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from hydra.core.override_parser.types import Override

from throughtime import config
from throughtime.compose.command_line import as_written, overrides_in, parsed, split
from throughtime.compose.composing import (
    SCHEMAS,
    choices_by_group,
    composed,
    job_of,
    jobs_of,
    keys_in,
    keys_of,
    values_of,
)

OF_FILES = ("name", "defaults")  # keys of a choice's file that nobody sets: the choice is made by its group
COMBINATIONS = 64  # jobs of a sweep checked beforehand; each job checks itself again


def ready(program: str, arguments: Sequence[str]) -> list[str]:
    """A command line as Hydra is to see it, checked as a whole, with the flags first, wherever they were.

    Raises:
        Mistake: the first slip found.
    """
    checked = preflight(program, arguments)
    flags, overrides = split(arguments)
    return [*flags, *(overrides if checked is None else [as_written(text, checked) for text in overrides])]


def preflight(program: str, arguments: Sequence[str]) -> Any:
    """Checks a command line as a whole: every choice, every key, every value, for every job of a sweep.

    Returns:
        The settings of the first job; None if only help is asked for.

    Raises:
        Mistake: the first slip found.
    """
    if _asks_for_help(arguments):
        return None
    overrides = [parsed(text) for text in overrides_in(arguments)]
    sweeping = bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(arguments))
    shown = {"--cfg", "-c", "--info", "-i"} & set(arguments)
    if sweeping and shown:
        raise config.Mistake(f"{shown.pop()} shows one job: allowed is it without -m.")
    for override in overrides:
        refuse_unknown_choice(override)
        if override.key_or_group == "hydra.job.chdir" and override.value():
            raise config.wrong("hydra.job.chdir", True, "false, as paths are those of where the program is started")
        _refuse_misplaced_sweep(override, sweeping, overrides)
    _refuse_unknown_keys(program, overrides)
    jobs, folders = list[Any](), list[str]()
    for number, chosen in enumerate(islice(jobs_of(overrides), COMBINATIONS)):
        job = job_of(program, chosen, number)
        jobs.append(config.check(job.settings, SCHEMAS[program]))
        folders.append(job.subdir)
        if isinstance(jobs[-1], config.TrainConfig) and not shown:
            _make_folder(jobs[-1].outputs)
    (folder, count), *_ = Counter(folders).most_common()
    timed = any("${now:" in (override.input_line or "") for override in overrides)  # each job starts at its own time
    if sweeping and count > 1 and not timed:
        raise config.wrong("hydra.sweep.subdir", folder, f"a folder for each job, and this one is that of {count}")
    if sweeping and (os.path.isabs(folder) or ".." in folder.split(os.sep)):
        raise config.wrong("hydra.sweep.subdir", folder, "a folder below hydra.sweep.dir")
    _tell_of_idle(overrides, jobs)
    return jobs[0]


def _asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether Hydra is only to print something that depends on no setting."""
    completes = {"--shell-completion", "-sc"} & set(arguments)
    if completes and not any(text.startswith(("install=", "uninstall=", "query=")) for text in arguments):
        raise config.Mistake(
            "--shell-completion goes with install=bash or uninstall=bash: allowed are bash, zsh, fish."
        )
    return bool(completes or {"--help", "-h", "--hydra-help", "--version"} & set(arguments))


def _refuse_misplaced_sweep(override: Override, sweeping: bool, others: list[Override]) -> None:
    """Refuses several values where one is wanted, none at all, and intervals without a sweeper that takes them."""
    if override.is_sweep_override() and not sweeping:
        raise config.Mistake(
            f"{override.input_line} lists several values: allowed with -m, for a sweep; a list is written in brackets."
        )
    if override.is_discrete_sweep() and not values_of(override):
        raise config.Mistake(f"{override.input_line} lists no value: allowed is at least one.")
    if override.is_interval_sweep() and "hydra/sweeper" not in {other.key_or_group for other in others}:
        raise config.Mistake(
            f"{override.input_line} is an interval: allowed are values, without another hydra/sweeper."
        )


def _make_folder(outputs: str) -> None:
    """Makes the folder of all runs, unless nothing can be written there."""
    try:
        os.makedirs(outputs, exist_ok=True)
        tempfile.TemporaryFile(dir=outputs).close()
    except OSError as error:
        raise config.wrong("outputs", outputs, f"a folder that can be written ({error.strerror})") from error


def _tell_of_idle(overrides: list[Override], jobs: list[Any]) -> None:
    """Notes settings that change nothing in any job."""
    for override in overrides:
        setting = override.package or override.key_or_group
        found = [next((one for one in config.idle(job) if one.of(setting)), None) for job in jobs]
        if all(found):
            print(f"note: {override.input_line} {found[0]}.", file=sys.stderr)


def refuse_unknown_choice(override: Override) -> None:
    """Refuses what a group has no file for."""
    choices = choices_by_group().get(override.key_or_group)
    if choices is None or override.is_delete():
        return
    for value in values_of(override):
        if value not in choices and not (value in ("null", "") and override.key_or_group == "experiment"):
            allowed = ", ".join(choices) + config.nearest(value, choices)
            raise config.wrong(override.key_or_group, value, allowed)


def _refuse_unknown_keys(program: str, overrides: list[Override]) -> None:
    """Refuses keys that the chosen groups do not have, for each combination of choices."""
    groups = choices_by_group()
    choices = [override for override in overrides if override.key_or_group in groups]
    combinations = {
        " ".join(chosen): keys_of(composed(program, chosen)) for chosen in islice(jobs_of(choices), COMBINATIONS)
    }
    for chosen, known in combinations.items():
        for key in (override.key_or_group for override in overrides):
            if key.startswith(("hydra.", "hydra/")) or key in known or key in groups:
                continue
            if any(key in others for others in combinations.values()):
                raise config.Mistake(
                    f"{key} is no setting with {chosen}: allowed is a sweep of choices that all have it."
                )
            group = key.partition(".")[0]
            able = [
                choice for choice in groups.get(group, []) if key in keys_of(composed(program, [f"{group}={choice}"]))
            ]
            if able:
                raise config.Mistake(f"{key} is a setting of {group}={config.alternatives(able)} alone.")
            hint = _meant(key, known) or config.nearest(key, [*known, *groups]) or "; --cfg job lists all."
            raise config.Mistake(f"{key} is no setting{hint}")


def _meant(key: str, known: list[str]) -> str:
    """A hint at settings of which `key` is the last part, here or in other choices of this program's groups."""
    groups = {group: choices for group, choices in choices_by_group().items() if group in known and "." not in key}
    found = [name for name in known if name.endswith(f".{key}")]
    found += [
        f"{group}.{key}" for group, choices in groups.items() if any(key in keys_in(group, one) for one in choices)
    ]
    found = [setting for setting in found if setting.rpartition(".")[0] not in groups or key not in OF_FILES]
    return f"; did you mean {config.alternatives(list(dict.fromkeys(found)))}?" if found else ""
