"""A whole backtest with a language model behind a server, and with a backbone's own words."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from chat_server import KEY, ChatServer, Reply, serving
from flag_kedro.names import CALIBRATED_LM, ENDPOINT_LM, ZERO_SHOT_LM

GEOMETRY = {"vocab_size": 1024, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
GEOMETRY |= {"num_attention_heads": 4, "bos_token_id": 0, "initializer_range": 0.3}


def equity_of(data_dir: Path, strategy: str) -> pl.DataFrame:
    return pl.read_parquet(data_dir / "07_model_output" / "equity.parquet").filter(pl.col("strategy") == strategy)


def test_endpoint_is_scored_beside_the_others_and_replays_without_server(
    kedro: Callable[..., object], copied_run: Path, small_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = equity_of(copied_run, "flag_trader")
    monkeypatch.setenv("SOME_KEY", KEY)
    with serving(ChatServer(usual=Reply("buy"), key=KEY)) as chat:
        chat.script.extend([Reply(status=429, headers={"Retry-After": "0"}), Reply("perhaps")])
        endpoint = (
            f"{{}},backtest.endpoint.url={chat.url},backtest.endpoint.model=gpt-x,backtest.endpoint.cutoff=unknown"
        )
        params = endpoint.format(small_run)
        key = ",backtest.endpoint.api_key_env=SOME_KEY"
        done = kedro("run", "--pipelines=backtest", data_dir=copied_run, params=params + key)
        num_asked = len(chat.requests)
    assert "endpoint_lm asked gpt-x at 127.0.0.1" in " ".join(done.stdout.split())  # type: ignore[attr-defined]
    first = equity_of(copied_run, ENDPOINT_LM)
    assert first["position"].max() == 1
    assert equity_of(copied_run, "flag_trader").equals(before)
    described = json.loads((copied_run / "08_reporting" / "backtest_language_models.json").read_text())
    assert described["endpoint"]["unreadable"] == {"no action": 1}
    assert num_asked > 10
    page = (copied_run / "08_reporting" / "backtest_report.html").read_text()
    assert "1 of 76 answers could not be read" in page
    assert KEY not in page + json.dumps(described)

    monkeypatch.delenv("SOME_KEY")
    kedro("run", "--pipelines=backtest", data_dir=copied_run, params=params)
    assert equity_of(copied_run, ENDPOINT_LM).equals(first)


def test_endpoint_that_is_not_allowed_stops_before_anything_runs(
    kedro: Callable[..., object], tmp_path: Path, small_run: str
) -> None:
    params = f"{small_run},backtest.endpoint.url=http://example.com/v1,backtest.endpoint.model=m"
    done = kedro("run", data_dir=tmp_path, params=f"{params},backtest.endpoint.cutoff=unknown", check=False)
    assert "backtest.endpoint.url sends prompts and key to example.com without encryption" in done.stderr + done.stdout  # type: ignore[attr-defined]


def save_model(folder: Path, make: Callable[[], PreTrainedModel], finished_run: Path) -> Path:
    """A model drawn at random, with the tokenizer of the finished run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        make().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(finished_run / "06_models" / "policy" / "backbone" / name, folder)
    return folder


@pytest.mark.slow
def test_a_gpt2_folder_trains_is_replayed_by_its_own_words_and_asked_what_it_recalls(
    kedro: Callable[..., object], finished_run: Path, tmp_path: Path, small_run: str
) -> None:
    folder = save_model(
        tmp_path / "gpt2", lambda: GPT2LMHeadModel(GPT2Config(**GEOMETRY, eos_token_id=0)), finished_run
    )
    data_dir, params = tmp_path / "data", f"{small_run},policy.backbone={folder},contamination.probe_samples=10"
    kedro("run", "--to-outputs=backtest_metrics", data_dir=data_dir, params=params)
    assert len(json.loads((data_dir / "08_reporting" / "training_history.json").read_text())) > 0
    adapter = json.loads((data_dir / "06_models" / "policy" / "adapter_config.json").read_text())
    assert (adapter["fan_in_fan_out"], adapter["layers_pattern"]) == (True, "h")
    metrics = json.loads((data_dir / "08_reporting" / "backtest_metrics.json").read_text())["results"]
    assert all({ZERO_SHOT_LM, CALIBRATED_LM, "flag_trader"} <= rows.keys() for rows in metrics.values())
    kedro("run", "--pipelines=contamination", data_dir=data_dir, params=params)
    report = json.loads((data_dir / "08_reporting" / "contamination.json").read_text())
    assert report["memorisation"]["applicable"]
    assert report["memorisation"]["windows"]["test"]["num_statements"] == 10


def test_a_gpt2_whose_positions_do_not_reach_to_the_end_of_a_prompt_does_not_start_to_train(
    kedro: Callable[..., object], finished_run: Path, tmp_path: Path, small_run: str
) -> None:
    config = GPT2Config(**GEOMETRY, eos_token_id=0, n_positions=24)
    folder = save_model(tmp_path / "gpt2", lambda: GPT2LMHeadModel(config), finished_run)
    params = f"{small_run},policy.backbone={folder}"
    done = kedro("run", "--pipelines=train", data_dir=tmp_path / "data", params=params, check=False)
    said = " ".join((done.stdout + done.stderr).split())  # type: ignore[attr-defined]
    assert re.search(r"a prompt has \d+ tokens, the limit is 24 .* lower features\.digest_chars", said)
    assert not (tmp_path / "data" / "08_reporting" / "training_history.json").exists()


def test_contamination_compares_both_sides_of_a_cutoff_inside_the_test_window(
    kedro: Callable[..., object], finished_run: Path, investorbench: Path, tmp_path: Path
) -> None:
    config = GPT2Config(**GEOMETRY, eos_token_id=0, n_positions=2048)
    folder = save_model(tmp_path / "gpt2", lambda: GPT2LMHeadModel(config), finished_run)
    params = (
        f"data.source=investorbench,data.path={investorbench},data.symbols=MSFT,policy.backbone={folder},"
        "features.digest_chars=300,ppo.total_timesteps=64,runtime.threads=1,backtest.bootstrap_draws=200,"
        "contamination.model_cutoff=2021-01-15,contamination.probe_samples=30"
    )
    data_dir = tmp_path / "data"
    kedro("run", "--pipelines=train", data_dir=data_dir, params=params)
    done = kedro("run", "--pipelines=contamination", data_dir=data_dir, params=params)
    sides = json.loads((data_dir / "08_reporting" / "contamination.json").read_text())["before_after"]
    assert sides["cutoff"] == "2021-01-15"
    measures = sides["measures"]
    assert list(measures) == ["closes", "direction", "flag_trader", ZERO_SHOT_LM, CALIBRATED_LM]
    trained, asked = measures["flag_trader"], measures[ZERO_SHOT_LM]
    assert trained["before"]["num_sessions"] + trained["after"]["num_sessions"] == 149  # of 150 sessions
    assert asked["after"]["num_sessions"] == trained["after"]["num_sessions"]
    assert asked["before"]["num_sessions"] > trained["before"]["num_sessions"] + 60  # those of the training window
    assert "Before and after the cutoff 2021-01-15" in done.stdout  # type: ignore[attr-defined]


@pytest.mark.slow
def test_backbone_with_a_head_is_replayed_raw_and_calibrated(
    kedro: Callable[..., object], finished_run: Path, tmp_path: Path, small_run: str
) -> None:
    config = LlamaConfig(**GEOMETRY, tie_word_embeddings=True)
    folder = save_model(tmp_path / "model", lambda: LlamaForCausalLM(config), finished_run)
    data_dir = tmp_path / "data"
    kedro("run", data_dir=data_dir, params=f"{small_run},policy.backbone={folder}")
    decisions = pl.read_parquet(data_dir / "07_model_output" / "decisions.parquet")
    for name in (ZERO_SHOT_LM, CALIBRATED_LM):
        rows = decisions.filter(pl.col("strategy") == name)
        assert rows.height == decisions.filter(pl.col("strategy") == "flat").height
        assert rows.select((pl.sum_horizontal("prob_sell", "prob_hold", "prob_buy") - 1.0).abs().max()).item() < 1e-6
    inference = json.loads((data_dir / "08_reporting" / "backtest_inference.json").read_text())
    assert {ZERO_SHOT_LM, CALIBRATED_LM} <= set(inference["pooled"]["flag_trader"]["rivals"]["differences"])
    left_out = json.loads((data_dir / "08_reporting" / "backtest_language_models.json").read_text())["left_out"]
    assert left_out is None
