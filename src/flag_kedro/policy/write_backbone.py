"""`python -m flag_kedro.policy.write_backbone smollm2 FOLDER`: a backbone as an ordinary Hugging Face folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flag_kedro.data.atomic import atomic_folder
from flag_kedro.errors import ParameterError
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the backbone, whole or not at all.

    Raises:
        ParameterError: when it cannot be had.
    """
    parser = argparse.ArgumentParser(prog="flag_kedro.policy.write_backbone", description=__doc__)
    parser.add_argument("backbone", help="smollm2, a hub id, a .gguf file or a folder")
    parser.add_argument("folder", type=Path, help="where to write it; what is there is replaced")
    given = parser.parse_args(arguments)
    with atomic_folder(given.folder) as folder:
        origin = write_backbone(PolicyConfig(backbone=given.backbone), [], 0, folder)
    sys.stdout.write(f"{origin}\n{given.folder}: use it by --params=policy.backbone={given.folder}\n")


if __name__ == "__main__":
    try:
        main()
    except ParameterError as error:
        sys.exit(str(error))
