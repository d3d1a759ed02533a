"""The rollout of a released configuration to the agents, and the rollback."""
