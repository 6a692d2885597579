"""Which sessions count as seen."""

from datetime import date

from flag_kedro.experiments.cutoffs import Cutoff, compare_windows, find_cutoff
from flag_kedro.policy.origin import BackboneOrigin
from flag_kedro.policy.smollm2 import HUB_ID, PACKAGED

DAYS = {"train": [date(2024, 11, 28), date(2024, 11, 29)], "test": [date(2024, 11, 29), date(2024, 12, 2)]}


def _verdicts(backbone: str, given: date | None = None, *, simulated: bool = False) -> dict[str, str]:
    knowledge = compare_windows(find_cutoff(backbone, given, simulated=simulated), DAYS)
    return {window: row.verdict for window, row in knowledge.items()}


def test_sessions_up_to_a_known_release_are_seen():
    assert _verdicts("HuggingFaceTB/SmolLM2-135M-Instruct") == {"train": "seen", "test": "partly seen"}


def test_sessions_after_the_pile_are_unseen_by_pythia():
    assert _verdicts("EleutherAI/pythia-70m") == {"train": "unseen", "test": "unseen"}


def test_cutoff_of_an_unknown_model_is_unknown_and_says_that_it_counts_as_seen():
    assert _verdicts("somebody/model") == {"train": "unknown", "test": "unknown"}
    assert "counts as seen" in find_cutoff("somebody/model", None, simulated=False).reason


def test_given_cutoff_wins():
    assert _verdicts("EleutherAI/pythia-70m", date(2024, 11, 28)) == {"train": "partly seen", "test": "unseen"}


def test_nothing_can_be_known_by_random_weights_or_of_a_simulated_market():
    assert _verdicts("tiny") == {"train": "unseen", "test": "unseen"}
    assert _verdicts("HuggingFaceTB/SmolLM2-135M", simulated=True) == {"train": "unseen", "test": "unseen"}


def test_share_seen_is_of_sessions():
    shares = compare_windows(find_cutoff("m", date(2024, 11, 29), simulated=False), DAYS)
    assert [row.share_seen for row in shares.values()] == [1.0, 0.5]


def test_smollm2_has_a_known_cutoff_wherever_its_weights_come_from():
    for origin in (PACKAGED, BackboneOrigin(name="SmolLM2-135M-Instruct", source="hub", model=HUB_ID)):
        assert find_cutoff("smollm2", None, simulated=False, origin=origin).day == date(2024, 11, 30)


def test_a_gguf_file_is_believed_what_it_calls_its_model_and_that_is_said():
    def called(claimed: str) -> Cutoff:
        origin = BackboneOrigin(name="model (Q8_0)", source="gguf", claimed=claimed)
        return find_cutoff("model.gguf", None, simulated=False, origin=origin)

    assert called("SmolLM2 135M Instruct").day == date(2024, 11, 30)
    reason = called("SmolLM2 135M Instruct").reason
    assert reason.endswith("which model it is says its file alone, which calls it 'SmolLM2 135M Instruct'")
    assert called("Llama 3.2 1B").day == date(2023, 12, 31)
    assert called("My own").day is None
