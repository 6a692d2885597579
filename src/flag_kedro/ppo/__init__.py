"""Learning: rollouts, advantages, losses and the PPO loop."""
