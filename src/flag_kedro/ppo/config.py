"""Parameters `ppo.*`, with the names of Table 3 (arXiv:2502.11433), which are CleanRL's."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

NOT_LEARNING = ("resume", "checkpoint_interval", "rendezvous", "fsdp", "activation_checkpointing")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PPOConfig:
    """How rollouts update the policy (arXiv:1707.06347).

    Defaults are those of the shipped job, conf/base; the paper's Table 3 is in conf/paper.
    """

    algorithm: Literal["ppo", "reinforce"] = "ppo"
    """`reinforce` is Monte Carlo policy gradient with the value head as baseline: one step over each whole rollout."""
    total_timesteps: int = Field(ge=1)
    """Account-decisions in the whole training, over all symbols and accounts."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam step size of every trainable weight of the backbone (the paper's beta)."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Adam step size of the heads (the paper's eta); null is learning_rate, as in Table 3."""
    num_envs: int = Field(default=2, ge=1)
    """Accounts per symbol that trade side by side."""
    num_steps: int = Field(default=32, ge=1)
    """Sessions per rollout (T)."""
    anneal_lr: bool = True
    """Lower the learning rate linearly to 0 over the training."""
    gamma: float = Field(default=0.5, ge=0, le=1)
    """Discount factor; a headline's effect is paid within days, and far rewards are noise to it."""
    gae_lambda: float = Field(default=0.5, ge=0, le=1)
    """Bias-variance trade-off of the advantages; 0 is one-step TD, 1 Monte Carlo."""
    update_epochs: int = Field(default=2, ge=1)
    """Passes over each rollout."""
    norm_adv: bool = True
    """Normalise advantages over the whole rollout."""
    clip_coef: float = Field(default=0.2, gt=0, lt=1)
    """Half-width of the interval around a probability ratio of 1."""
    clip_vloss: bool = False
    """Clip the value's change by clip_coef as well."""
    ent_coef: float = Field(default=0.03, ge=0)
    """Weight of the entropy bonus."""
    vf_coef: float = Field(default=0.5, ge=0)
    """Weight of the value loss."""
    kl_coef: float = Field(default=0.0, ge=0)
    """Weight of the exact KL divergence of the policy from the initial policy."""
    volatility_coef: float = Field(default=0.0, ge=0)
    """Weight of the loss of a third head, which forecasts the logarithm of the next five sessions' realised variance
    from the same vector; 0 is without that head."""
    max_grad_norm: float = Field(default=0.5, gt=0)
    """Global norm to which gradients are clipped."""
    target_kl: float | None = Field(default=None, gt=0)
    """Stop a rollout's epochs once the approximate KL exceeds this; null never stops early."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Forward-backward passes per optimizer step; trades time for memory, not results."""
    minibatch_size: int | None = Field(default=128, ge=1)
    """Account-decisions per optimizer step, in whole (symbol, session) groups; the last may be smaller. null is
    the whole rollout."""
    bootstrap_truncated: bool = True
    """Continue a truncated episode with V of its last state; false is the paper's likely reading."""
    stagger_starts: bool = True
    """Start each symbol's first episode at a session of its own, so that a rollout mixes market phases."""
    reward_scale: float = Field(default=100.0, gt=0)
    """Factor on rewards inside the learner; advantages are normalised, so it sets the value head's units."""
    validation_interval: int = Field(default=12, ge=1)
    """Updates between two validations; without a validation window there are none."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many validations without a new best; null uses the whole budget."""
    max_kl: float | None = Field(default=None, gt=0)
    """Stop with an error when an update moves the policy further (approximate KL after its last step); null never
    does."""
    min_entropy: float | None = Field(default=None, gt=0)
    """Stop with an error when the policy's mean entropy (nats) where several actions are legal falls below; null never
    does."""
    checkpoint_interval: int = Field(default=10, ge=1)
    """Updates between two checkpoints; when a training is stopped by a signal one more is written."""
    resume: Literal["auto", "never"] = "auto"
    """Go on with an unfinished training of the same settings, or begin anew."""
    num_processes: int = Field(default=1, ge=1)
    """Training processes on each machine, which share the reading of prompts: `runtime.threads` for each, or a GPU
    for each. What is learned differs by rounding only."""
    num_machines: int = Field(default=1, ge=1)
    """Machines that train together; each gives the same command."""
    rendezvous: str | None = None
    """HOST:PORT, an address of one of several machines and a free port there, where they meet."""
    fsdp: bool = False
    """Whether each process holds only its part of the frozen layers, for backbones that no device can hold."""
    activation_checkpointing: bool = False
    """Whether the backward pass computes layers that learn once more instead of keeping what they computed: less memory
    for a third more time of an update, and the same weights."""

    def __post_init__(self) -> None:
        if self.algorithm == "reinforce":
            self._check_reinforce()
        if self.minibatch_size is not None and self.minibatch_size < self.num_envs:
            raise ValueError(
                f"ppo.minibatch_size ({self.minibatch_size}) must be at least ppo.num_envs ({self.num_envs}): "
                "a minibatch holds whole (symbol, session) groups"
            )
        if (self.rendezvous is None) != (self.num_machines == 1):
            raise ValueError(
                f"ppo.num_machines is {self.num_machines} and ppo.rendezvous {self.rendezvous}: several machines meet "
                "at a HOST:PORT, one machine has ppo.rendezvous=null"
            )
        if self.fsdp and self.world_size == 1:
            raise ValueError("ppo.fsdp shares the frozen layers among processes; set ppo.num_processes above 1")
        host, _, port = (self.rendezvous or "host:0").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"ppo.rendezvous must be HOST:PORT, such as 10.0.0.1:29400; got {self.rendezvous}")

    def learning(self) -> dict[str, Any]:
        """The fields on which the bits of what is learned depend, `volatility_coef` only where there is that head."""
        without = NOT_LEARNING if self.volatility_coef > 0.0 else (*NOT_LEARNING, "volatility_coef")
        return {name: value for name, value in asdict(self).items() if name not in without}

    @property
    def world_size(self) -> int:
        """Training processes on all machines."""
        return self.num_processes * self.num_machines

    def _check_reinforce(self) -> None:
        needed = {"update_epochs": 1, "gae_lambda": 1.0, "minibatch_size": None}
        wrong = [name for name, value in needed.items() if getattr(self, name) != value]
        if wrong:
            listed = ", ".join(f"ppo.{name}={'null' if needed[name] is None else needed[name]}" for name in wrong)
            raise ValueError(
                "ppo.algorithm is reinforce, which takes one step over each whole rollout, with returns as they came: "
                f"set {listed}"
            )

    def num_updates(self, num_symbols: int) -> int:
        """Rollouts that the budget pays for, at least one."""
        return max(1, self.total_timesteps // (self.num_envs * self.num_steps * num_symbols))
