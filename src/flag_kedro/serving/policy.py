"""Opening a trained policy by one call: every file verified, in a process that knows no Kedro."""

from pathlib import Path

import torch

from flag_kedro.errors import DataError
from flag_kedro.policy import bundle
from flag_kedro.policy.actor_critic import ActorCritic


def load_policy(folder: Path | str, backbone: Path | str | None = None, device: str = "cpu") -> ActorCritic:
    """The policy in a folder that a training left, exactly as it was trained, with nothing left to learn.

    It answers `decide(States(...))` (`flag_kedro.env.states`).

    Args:
        folder: such as `data/06_models/policy`, wherever it was copied to.
        backbone: folder of the language model below it; None takes the one that the policy brings (`tiny`), or the
            folder `backbone` beside it.
        device: where torch computes.

    Raises:
        DataError: when a file is absent or changed, the backbone is another one or not found, or the policy was written
            for other prompts or another order of actions.
        ParameterError: when transformers cannot read the backbone.
    """
    policy = Path(folder)
    description = bundle.read_description(policy)
    return bundle.load_policy(policy, _backbone(policy, backbone, description["backbone_hash"]), torch.device(device))


def _backbone(policy: Path, given: Path | str | None, wanted: str) -> Path:
    """The folder of the backbone, which the bundle's own one goes before.

    Raises:
        DataError: when there is none.
    """
    places = [policy / "backbone", policy.resolve().parent / "backbone"] if given is None else [Path(given)]
    found = next((place for place in places if (place / "config.json").is_file()), None)
    if found is None:
        raise DataError(
            f"{' and '.join(map(str, places))}: there is no backbone, whose hash must be {wanted}. Give its folder, "
            f"load_policy({str(policy)!r}, backbone=FOLDER); `make smollm2` writes that of SmolLM2"
        )
    return found
