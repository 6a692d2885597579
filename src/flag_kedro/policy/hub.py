"""Copying a trained policy to a model hub."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flag_kedro.errors import ParameterError
from flag_kedro.policy.config import PublishConfig
from flag_kedro.policy.manifest import CARD, verify_manifest, write_manifest


def push_to_hub(bundle: Path, config: PublishConfig, card: str | None = None) -> str:
    """Copy a policy to a repository of the hub, made where there is none; files of an earlier one are removed.

    Address and token are those of huggingface_hub: `HF_ENDPOINT`, and `hf auth login` or `HF_TOKEN`.

    Args:
        bundle: the policy's folder.
        config: the repository.
        card: takes the place of the policy's own model card; None leaves it.

    Returns:
        The commit's address.

    Raises:
        ParameterError: when no repository is named, or the hub does not take it.
        DataError: when the policy is damaged.
    """
    if config.repo is None:
        raise ParameterError(
            "publish.repo is null: name the repository of the hub that the policy is copied to, such as "
            '--params="publish.repo=USER/NAME"'
        )
    verify_manifest(bundle)
    import huggingface_hub
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the HTTP library that it uses

    api = huggingface_hub.HfApi(library_name="flag_kedro")
    try:
        api.create_repo(config.repo, private=config.private, exist_ok=True)
        with _with_card(bundle, card) as folder:
            commit = api.upload_folder(
                repo_id=config.repo, folder_path=folder, commit_message="A flag_kedro policy", delete_patterns="*"
            )
    except (HTTPError, ValueError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ParameterError(
            f"the hub at {api.endpoint} did not take the policy as {config.repo}: {said}. Nothing here was changed; "
            "log in with `hf auth login` or set HF_TOKEN to a token that may write there, and look at publish.repo"
        ) from error
    return str(commit.commit_url)


@contextmanager
def _with_card(bundle: Path, card: str | None) -> Iterator[Path]:
    """The bundle, or a copy of it with another model card and the manifest that goes with it."""
    if card is None:
        yield bundle
        return
    with TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(bundle, Path(temporary) / bundle.name))
        (folder / CARD).write_text(card)
        write_manifest(folder)
        yield folder
