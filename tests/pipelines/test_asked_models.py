"""A whole backtest with a language model behind a server, and with a backbone's own words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

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


@pytest.mark.slow
def test_backbone_with_a_head_is_replayed_raw_and_calibrated(
    kedro: Callable[..., object], finished_run: Path, tmp_path: Path, small_run: str
) -> None:
    folder = tmp_path / "model"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        LlamaForCausalLM(LlamaConfig(**GEOMETRY, tie_word_embeddings=True)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(finished_run / "06_models" / "policy" / "backbone" / name, folder)
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
