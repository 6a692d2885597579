"""Wrong parameters stop a run before anything happens, and the message names the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flag_kedro.errors import ParameterError
from flag_kedro.hooks.parameters import Settings, check_parameters, check_pipeline

BASE = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters.yml"


@pytest.fixture
def parameters() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(BASE.read_text())
    return loaded


def put(parameters: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *groups, last = path.split(".")
    level = parameters
    for group in groups:
        level[group] = level.get(group) or {}
        level = level[group]
    level[last] = value
    return parameters


def test_shipped_parameters_are_right(parameters: dict[str, Any]):
    assert check_parameters(parameters).data.source == "simulated"


@pytest.mark.parametrize("profile", ["paper", "yahoo"])
def test_shipped_profile_is_right_over_base(parameters: dict[str, Any], profile: str):
    given = yaml.safe_load((BASE.parents[1] / profile / "parameters.yml").read_text())
    for group, values in given.items():
        parameters[group] |= values
    assert check_parameters(parameters).policy.backbone == "smollm2"


REQUIRED = {"ppo": {"total_timesteps": 40_000}}
"""Fields that have no default, so that only the YAML says what they are."""


def test_shipped_parameters_are_the_defaults(parameters: dict[str, Any]):
    """The YAML shows some of the fields, each as it is without the YAML."""
    settings = check_parameters(parameters)
    for group, given in parameters.items():
        if isinstance(given, dict):
            shipped = getattr(settings, group)
            assert shipped == type(shipped)(**REQUIRED.get(group, {})), group
            assert given, f"{group}: a group must state something, or Kedro has no parameter of its name"


def test_every_group_is_shipped(parameters: dict[str, Any]):
    groups = {name for name, field in Settings.model_fields.items() if field.is_required()}
    assert groups <= set(parameters)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("foo", 1, r"foo: unknown parameter; known here: audit, backtest, certify, contamination, data"),
        (
            "symbols",
            "ALDR",
            r"symbols: unknown parameter; did you mean certify\.symbols or data\.symbols or files\.symbols or ",
        ),
        ("learning_rate", 1, r"learning_rate: unknown parameter; did you mean ppo\.learning_rate\?"),
        ("ppo.learning_rte", 1, r"ppo\.learning_rte: unknown parameter; did you mean ppo\.learning_rate\?"),
        ("data.windows.tset", ["2021-01-04", "2021-06-01"], r"data\.windows\.tset: unknown .* data\.windows\.test"),
        ("ppo.total_timesteps", "many", r"ppo\.total_timesteps: .*integer.* got 'many'"),
        ("ppo.num_machines", 2, r"ppo\.num_machines is 2 and ppo\.rendezvous None: several machines meet at"),
        ("ppo.fsdp", True, r"ppo\.fsdp shares the frozen layers among processes"),
        ("ppo.rendezvous", "here:29400", r"ppo\.num_machines is 1 and ppo\.rendezvous here:29400"),
        ("env.cost_bps", -1, r"env\.cost_bps: .*greater than or equal to 0; got -1"),
        ("env.cost_bps", 9_999, r"env\.cost_bps \+ env\.slippage_bps must stay below 10,000"),
        ("env.fill", "last_close", r"env\.fill: .*next_open.*; got 'last_close'"),
        ("data.source", "yahoo", r"data\.symbols must say what to download when data\.source is yahoo"),
        ("data.source", "files", r"data\.path must name files of prices when data\.source is files"),
        ("news.source", "huggingface", r"news\.path must name the articles when news\.source is huggingface"),
        ("data.source", "investorbench", r"data\.path must name the folder"),
        ("data.symbols", True, r"data\.symbols: arrived as True, so its spelling is lost; set it in YAML"),
        ("data.symbols", "ALDR ALDR", r"data\.symbols names a symbol twice"),
        ("data.windows.train", "2021-01-04", r"data\.windows\.train: a window is its first and last session date"),
        ("data.windows.train", "2021-06-01 2021-01-04", r"data\.windows\.train must end after it begins"),
        ("seed", -1, r"seed: .*greater than or equal to 0"),
        ("seeds", "1 2 1", r"seeds: one is given twice in 1 2 1"),
        ("seeds", "4 04", r"seeds: one is given twice in 4 4"),
        ("certify.processes", 2, r"certify\.processes: is no parameter any more; set runtime\.engine=ray"),
        ("runtime.ray_address", "auto", r"runtime\.ray_address is auto, but runtime\.engine is local"),
        ("certify.seeds", "5 05 005", r"certify\.seeds: one is given twice in 5 5 5"),
        ("certify.symbols", "ALDR ALDR", r"certify\.symbols: one is given twice in ALDR ALDR"),
        (
            "data.windows",
            {"train": "2021-01-04 2021-06-01", "test": "2020-01-06 2020-06-01"},
            r"data\.windows come in the order test, train; it must be train, test",
        ),
        ("seeds", "one", r"seeds.0: .*integer.* got 'one'"),
        ("walk_forward.folds", 0, r"walk_forward\.folds: .*greater than or equal to 1"),
        ("sweep.grid.ppo.learning_rate", "0.1 -1", r"sweep\.grid\.ppo\.learning_rate: .*greater than 0; got '-1'"),
        ("sweep.grid.data.seed", "1 2", r"sweep\.grid\.data\.seed: only ppo"),
        ("sweep.sampler", "tpe", r"sweep\.sampler=tpe needs sweep\.trials"),
        ("sweep", {"sampler": "tpe", "trials": 3}, r"sweep\.ranges and sweep\.grid are empty: .*sweep\.sampler=tpe"),
        (
            "sweep",
            {"sampler": "tpe", "trials": 3, "ranges": {"ppo": {"gamma": "0.5 2"}}},
            r"sweep\.ranges\.ppo\.gamma: .*less than or equal to 1; got '2'",
        ),
        ("policy.revision", "main", r"policy\.revision names a version of a hub id"),
    ],
)
def test_wrong_parameter_is_named(parameters: dict[str, Any], path: str, value: Any, message: str):
    with pytest.raises(ParameterError, match=message):
        check_parameters(put(parameters, path, value))


def test_overlapping_windows_are_named(parameters: dict[str, Any]):
    put(parameters, "data.windows.train", "2021-01-04 2022-12-30")
    put(parameters, "data.windows.test", "2022-06-01 2023-06-01")
    with pytest.raises(ParameterError, match=r"data\.windows\.train .* and data\.windows\.test .* overlap"):
        check_parameters(parameters)


def test_every_wrong_parameter_is_listed_at_once(parameters: dict[str, Any]):
    put(put(parameters, "env.cost_bps", -1), "ppo.gamma", 2)
    with pytest.raises(ParameterError, match=r"env\.cost_bps[\s\S]*ppo\.gamma"):
        check_parameters(parameters)


def test_missing_group_is_named(parameters: dict[str, Any]):
    del parameters["ppo"]
    with pytest.raises(ParameterError, match="ppo: missing"):
        check_parameters(parameters)


@pytest.mark.parametrize(("given", "expected"), [("ALDR BRIX", ("ALDR", "BRIX")), (3, ("3",)), (["ALDR"], ("ALDR",))])
def test_lists_come_separated_by_blanks(parameters: dict[str, Any], given: Any, expected: tuple[str, ...]):
    assert check_parameters(put(parameters, "data.symbols", given)).data.symbols == expected


@pytest.mark.parametrize(("given", "expected"), [("3 1", (3, 1)), (2, (2,)), (None, None)])
def test_seeds_come_separated_by_blanks(parameters: dict[str, Any], given: Any, expected: tuple[int, ...] | None):
    assert check_parameters(put(parameters, "seeds", given)).seeds == expected


@pytest.mark.parametrize(
    ("seeds", "outputs", "refused"),
    [
        (None, {"policy", "seed_results"}, False),
        ("1 2", {"policy", "seed_results"}, True),
        (None, {"walk_forward_results"}, True),
        (None, {"sweep_results"}, True),
        (None, {"certificate"}, False),
    ],
)
def test_several_trainings_run_on_one_machine(
    parameters: dict[str, Any], seeds: str | None, outputs: set[str], refused: bool
):
    given = parameters | {"seeds": seeds} | {"ppo": parameters["ppo"] | {"num_machines": 2, "rendezvous": "a:1"}}
    if refused:
        with pytest.raises(ParameterError, match=r"ppo\.num_machines is 2, but only a single training"):
            check_pipeline(check_parameters(given), outputs)
    else:
        check_pipeline(check_parameters(given), outputs)


def test_certify_has_seeds_of_its_own(parameters: dict[str, Any]):
    with pytest.raises(ParameterError, match=r"seeds is not read by this pipeline; give certify\.seeds"):
        check_pipeline(check_parameters(parameters | {"seeds": "1 2"}), {"certificate"})


def test_events_of_news_need_prompts_of_one_session(parameters: dict[str, Any]):
    put(put(parameters, "env.decide_on", "events"), "features.digest_sessions", 3)
    with pytest.raises(ParameterError, match=r"prompts show those of 3 sessions; set features\.digest_sessions=1"):
        check_parameters(parameters)
    put(put(parameters, "env.event_news_burst", None), "env.event_large_move", 2.0)
    assert check_parameters(parameters).env.event_rule is not None


def test_events_of_no_kind_are_refused(parameters: dict[str, Any]):
    put(put(parameters, "env.decide_on", "events"), "env.event_news_burst", None)
    with pytest.raises(ParameterError, match=r"env\.decide_on is events, but no kind of event"):
        check_parameters(parameters)


def test_certificates_are_of_policies_that_trade_every_session(parameters: dict[str, Any]):
    settings = check_parameters(put(parameters, "env.decide_on", "events"))
    with pytest.raises(ParameterError, match=r"env\.decide_on=every_session"):
        check_pipeline(settings, {"certificate"})


def test_certificates_are_of_policies_without_a_stop(parameters: dict[str, Any]):
    settings = check_parameters(put(parameters, "env.max_drawdown_stop", 0.2))
    with pytest.raises(ParameterError, match=r"env\.max_drawdown_stop=null"):
        check_pipeline(settings, {"certificate"})
    check_pipeline(settings, {"policy"})


def test_events_that_a_search_may_draw_need_prompts_of_one_session(parameters: dict[str, Any]):
    grid = {"env.decide_on": "every_session events"}
    put(parameters, "sweep", {"sampler": "random", "trials": 2, "grid": grid})
    check_parameters(parameters)
    with pytest.raises(ParameterError, match=r"env\.decide_on=events.*digest_sessions=1"):
        check_parameters(put(parameters, "features.digest_sessions", 3))


def test_events_that_a_sweep_tries_need_prompts_of_one_session(parameters: dict[str, Any]):
    put(parameters, "sweep.grid", {"env.decide_on": ["every_session", "events"]})
    check_parameters(parameters)
    with pytest.raises(
        ParameterError, match=r"sweep\.grid has a combination .*env\.decide_on=events.*digest_sessions=1"
    ):
        check_parameters(put(parameters, "features.digest_sessions", 3))


def test_the_events_pipeline_needs_prompts_of_one_session_whatever_decide_on_is(parameters: dict[str, Any]):
    settings = check_parameters(put(parameters, "features.digest_sessions", 3))
    check_pipeline(settings, {"policy"})
    with pytest.raises(ParameterError, match=r"this pipeline trades on events.*digest_sessions=1"):
        check_pipeline(settings, {"event_study"})


def test_the_events_pipeline_needs_a_kind_of_event(parameters: dict[str, Any]):
    settings = check_parameters(put(parameters, "env.event_news_burst", None))
    check_pipeline(settings, {"policy"})
    with pytest.raises(ParameterError, match=r"no kind of event is asked for; set one of env\.event_news_burst"):
        check_pipeline(settings, {"event_study"})
