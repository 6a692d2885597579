"""The trading MDP: accounts, rewards, prompts and the Gymnasium environments."""
