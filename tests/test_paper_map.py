"""docs/paper.md names only what exists, and conf/paper holds what it says of Table 3."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flag_kedro.env.config import EnvConfig
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig

ROOT = Path(__file__).resolve().parents[1]
PLACES = (ROOT, ROOT / "src" / "flag_kedro", ROOT / "tests")
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
BACKTICKED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?P<file>[\w./-]+\.(?:py|yml|md|csv))(?:::(?P<name>[\w.]+))?|(?P<folder>[\w./-]+/)")
LISTED = re.compile(r"^- (?P<code>[A-H]\d+) `(?P<test>[^`]+)`", re.MULTILINE)
TABLE_3 = {
    "total_timesteps": 13860,
    "learning_rate": 5e-4,
    "num_envs": 1,
    "num_steps": 40,
    "anneal_lr": True,
    "gamma": 0.95,
    "gae_lambda": 0.98,
    "update_epochs": 1,
    "norm_adv": True,
    "clip_coef": 0.2,
    "clip_vloss": True,
    "ent_coef": 0.05,
    "vf_coef": 0.5,
    "kl_coef": 0.05,
    "max_grad_norm": 0.5,
    "target_kl": None,
    "dropout": 0.0,
    "llm": "SmolLM2-135M-Instruct",
    "train_dtype": "float16",
    "gradient_accumulation_steps": 8,
    "minibatch_size": 32,
    "max_episode_steps": 65,
}
"""All 22 settings as printed."""
ELSEWHERE = {
    "llm": ("policy", "backbone", "smollm2"),
    "train_dtype": ("policy", "dtype", "float32"),
    "max_episode_steps": ("env", "max_episode_steps", 65),
}
"""Settings that are no `ppo` parameter: group, key and value in the profile. Dropout has no key."""


@pytest.fixture(scope="module")
def profile() -> dict[str, Any]:
    """conf/paper alone."""
    return _read(ROOT / "conf" / "paper" / "parameters.yml")


def _read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def _merged(profile: dict[str, Any], group: str) -> dict[str, Any]:
    """One group as `--env=paper` gives it: the profile over base."""
    base = _read(ROOT / "conf" / "base" / "parameters.yml")
    return base[group] | profile[group]


def _defined(nodes: list[ast.stmt], owner: str = "") -> set[str]:
    """Functions, classes, constants and fields, members with their class before a dot."""
    names: set[str] = set()
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(owner + name)
            case ast.ClassDef(name=name, body=body):
                names |= {owner + name} | _defined(body, f"{owner}{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(owner + name)
            case ast.Assign(targets=targets):
                names |= {owner + target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _missing(page: str) -> list[str]:
    """Every path or name in backticks on `page` that does not exist, and every test named without its file."""
    return [token for token in BACKTICKED.findall(page) if not _exists(token)]


def _exists(token: str) -> bool:
    found = PATH.fullmatch(token)
    if found is None:  # a setting, a command; what looks like a place must be one that can be checked
        return "::" not in token and not re.search(r"\.py\b|^test_", token)
    if found["folder"] is not None:
        return any((place / token).is_dir() for place in PLACES)
    files = [place / found["file"] for place in PLACES if (place / found["file"]).is_file()]
    if not files or found["name"] is None:
        return bool(files)
    return files[0].suffix == ".py" and found["name"] in _defined(ast.parse(files[0].read_text(encoding="utf-8")).body)


def test_every_file_function_and_test_named_exists() -> None:
    assert _missing(PAGE) == []
    assert len([token for token in BACKTICKED.findall(PAGE) if "::" in token]) > 100


@pytest.mark.parametrize(
    "wrong",
    [
        "env/reward.py",
        "env/nowhere/",
        "env/rewards.py::SharpeDecrement",
        "env/rewards.py::SharpeIncrement.leap",
        "env/config.py::EnvConfig.costs_bps",
        "ppo/test_losses.py::test_nothing",
        "conf/paper/parameters.yml::ppo",
        "test_policy_loss_takes_the_worse_of_ratio_and_clipped_ratio",
        "env/rewards.py:SharpeIncrement",
        "ppo/losses::entropy",
    ],
)
def test_wrong_name_is_found(wrong: str) -> None:
    assert _missing(f"| a | `env/rewards.py::SharpeIncrement.step` | `{wrong}` | `gamma` |") == [wrong]


def test_tables_and_the_list_of_tests_name_each_other() -> None:
    listed = [code for code, _ in LISTED.findall(PAGE)]
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("| "))
    cited = set(re.findall(r"\b[A-H]\d+\b", PAGE[: PAGE.index("## Tests")]))
    assert len(listed) == len(set(listed))
    assert cited == set(listed)
    assert set(re.findall(r"\b[A-H]\d+\b", tables)) <= cited
    assert all("test_" in test.partition("::")[2] for _, test in LISTED.findall(PAGE))


def test_profile_holds_table_3_as_documented(profile: dict[str, Any]) -> None:
    section = PAGE[PAGE.index("## E. Table 3") : PAGE.index("## F.")]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line]
    assert [row[0] for row in rows] == list(TABLE_3)
    for setting, printed, here, *_ in rows:
        value = yaml.safe_load(printed)
        assert (float(value) if setting == "learning_rate" else value) == TABLE_3[setting], setting
        if setting in ELSEWHERE:
            group, key, expected = ELSEWHERE[setting]
            assert profile[group][key] == expected, setting
            assert here == ("same" if setting == "llm" else str(expected)), setting
        elif setting != "dropout":
            assert here == printed, setting
            assert profile["ppo"][setting] == TABLE_3[setting], setting


def test_rest_of_the_profile_is_the_papers_trading_problem(profile: dict[str, Any]) -> None:
    env, policy = EnvConfig(**_merged(profile, "env")), PolicyConfig(**_merged(profile, "policy"))
    assert (env.positions, env.fill, env.cost, env.cash_rate) == ("long_flat", "next_close", 0.0, 0.0)
    assert (env.reward, env.account_view) == ("sharpe_increment", "paper")
    assert (policy.trainable, policy.frozen_layers) == ("layers", 24)
    ppo = PPOConfig(**_merged(profile, "ppo"))
    assert (ppo.algorithm, ppo.head_learning_rate, ppo.reward_scale) == ("ppo", None, 1.0)
    assert ppo.num_updates(num_symbols=1) == 346  # 13,860 / 40, rounded down


def test_fast_profile_departs_from_the_papers_only_where_it_says_so(profile: dict[str, Any]) -> None:
    """A list of all keys that differ, defaults of base filled in; Table 3's objective and all of the trading stay."""
    fast = _read(ROOT / "conf" / "paper_fast" / "parameters.yml")
    assert fast.keys() == profile.keys()
    departures = {
        f"{group}.{key}"
        for group in profile
        for key in profile[group] | fast[group]
        if _merged(profile, group).get(key) != _merged(fast, group).get(key)
    }
    assert departures == {
        "env.account_view",
        "policy.num_layers", "policy.frozen_layers", "policy.trainable", "policy.readout", "policy.dtype",
        "policy.batch_tokens",
        "ppo.total_timesteps", "ppo.num_envs", "ppo.learning_rate", "ppo.head_learning_rate",
        "ppo.gradient_accumulation_steps",
    }  # fmt: skip
    base = _read(ROOT / "conf" / "base" / "parameters.yml")
    assert "account_view" not in base["env"]
    assert EnvConfig(**_merged(fast, "env")).account_view == "compact"
    assert fast["ppo"]["total_timesteps"] == fast["ppo"]["num_envs"] * profile["ppo"]["total_timesteps"]
