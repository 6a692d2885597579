"""Folders that take long to make and are made once for all runs of this machine's user.

They lie in `~/.cache/flag_kedro/backbones`, or below the folder that the environment variable FLAG_KEDRO_CACHE names.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from flag_kedro.data.atomic import atomic_folder, recover_folder
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.policy.manifest import verify_manifest, write_manifest

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "FLAG_KEDRO_CACHE"


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder called `name`, made by `make` where it is not there whole.

    It appears whole or not at all, and of several processes one makes it while the others wait.

    Args:
        name: of the folder.
        make: fills an empty folder.

    Raises:
        ParameterError: when the cache cannot be written.
    """
    folder = _cache() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            recover_folder(folder)
            if not _is_whole(folder):
                with atomic_folder(folder) as temporary:
                    make(temporary)
                    write_manifest(temporary)
    except OSError as error:
        raise ParameterError(
            f"policy.backbone: {folder} cannot be made ({error}); let the environment variable {CACHE_VARIABLE} name a "
            "folder that can be written and has room for the weights in float32"
        ) from error
    return folder


def _cache() -> Path:
    root = os.environ.get(CACHE_VARIABLE) or "~/.cache/flag_kedro"
    return Path(root).expanduser().absolute() / "backbones"


def _is_whole(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        verify_manifest(folder)
    except DataError as error:
        logger.warning("%s; it is made anew", error)
        return False
    return True
