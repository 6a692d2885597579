"""Keys and values of prefixes, kept under a budget of bytes: a new suffix behind a known prefix costs its own tokens.

Inference servers call this prefix caching. Keys and values of every frozen layer are some twelve times as large as what
leaves the last one, so they have a budget of their own.
"""

from random import Random
from typing import Self

from flag_kedro.policy.packing import TokenIds
from flag_kedro.policy.prefix_kv_cache import KeysValues


class PrefixKVStore:
    """Keys and values by prefix; once the budget is full, one drawn at random makes room.

    At random, because training goes through its window again and again: the least recently used prefix is just the one
    that comes next. What is kept decides over time only, never over results. Copies of a model share the store.
    """

    def __init__(self, max_bytes: int) -> None:
        """An empty store.

        Args:
            max_bytes: budget for tensors; token ids are not counted.
        """
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.hits = self.misses = 0
        self._kept: dict[TokenIds, KeysValues] = {}
        self._prefixes: list[TokenIds] = []
        self._draws = Random(0)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, prefix: TokenIds) -> KeysValues | None:
        """Keys and values of a prefix, or None; nobody may write into them."""
        found = self._kept.get(prefix)
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        return found

    def put(self, prefix: TokenIds, keys_values: KeysValues) -> None:
        """Keep those of a prefix; what is larger than the whole budget is not kept."""
        assert len(keys_values) == len(prefix), "keys and values need one vector per token"
        if prefix in self._kept or keys_values.nbytes > self.max_bytes:
            return
        while self.nbytes + keys_values.nbytes > self.max_bytes:
            self._drop(self._draws.randrange(len(self._prefixes)))
        self._kept[prefix] = keys_values
        self._prefixes.append(prefix)
        self.nbytes += keys_values.nbytes

    def _drop(self, index: int) -> None:
        """Drop one prefix; the last takes its place in the list."""
        prefix, self._prefixes[index] = self._prefixes[index], self._prefixes[-1]
        self._prefixes.pop()
        self.nbytes -= self._kept.pop(prefix).nbytes

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self
