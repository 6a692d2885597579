"""Reading prompts ahead, the prompts of each symbol a task."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.carried import CarriedFolder, SeenFolder
from flag_kedro.experiments.fan_out import Carry, Packed, Portable, Task, fan_out
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.encoding import start_encoding
from flag_kedro.ppo.runtime import RuntimeConfig


@dataclass(frozen=True)
class EncodingFolders(Portable):
    """Where the backbone is and where rows go."""

    backbone: Path
    rows: Path

    def packed(self, carry: Carry) -> "PackedEncodingFolders":
        """The backbone goes to nodes that lack it; rows must come back, so that nodes must see their folder."""
        return PackedEncodingFolders(carry.whole(self.backbone), carry.seen(self.rows))


@dataclass(frozen=True)
class PackedEncodingFolders(Packed):
    """The same on its way to another node."""

    backbone: CarriedFolder
    rows: SeenFolder

    def unpacked(self) -> EncodingFolders:
        """As the node has them.

        Raises:
            ParameterError: when the node does not see the folder of rows.
        """
        rows = self.rows.here()
        if rows is None:
            raise ParameterError(
                f"rows of the trunk go to {self.rows.path}, which this node does not see; give a folder that all nodes "
                "see (--params=trunk_cache_dir=DIR), read prompts ahead on one machine (runtime.ray_address=null), or "
                "not at all (policy.trunk_cache=ram)"
            )
        return EncodingFolders(self.backbone.here(), rows)


def encode_symbols(
    folders: EncodingFolders,
    prefixes: Mapping[str, Sequence[str]],
    env: EnvConfig,
    policy: PolicyConfig,
    runtime: RuntimeConfig,
    on_wait: Callable[[], None],
) -> Generator[tuple[int, int], None, None]:
    """Write a row for each prompt, yielding after each symbol how many rows it has and how many were there before.

    Args:
        folders: backbone and rows.
        prefixes: prompts without their accounts, by symbol.
        env: whose account texts rows get.
        policy: backbone and split.
        runtime: what does it, and on what.
        on_wait: called while tasks are under way.

    Raises:
        FlagError: see `fan_out.fan_out` and `ppo.encoding.start_encoding`.
    """
    tasks = [
        Task(f"prompts of {symbol}", partial(_encode, folders, texts, env, policy, runtime))
        for symbol, texts in prefixes.items()
    ]
    with closing(fan_out(tasks, runtime, on_wait)) as results:
        for _, rows in results:
            yield rows


def _encode(
    folders: EncodingFolders, prefixes: Sequence[str], env: EnvConfig, policy: PolicyConfig, runtime: RuntimeConfig
) -> tuple[int, int]:
    """How many rows there are now, and how many there were before."""
    counts = list(start_encoding(folders.backbone, prefixes, env, policy, runtime, folders.rows))
    return counts[-1], counts[0]
