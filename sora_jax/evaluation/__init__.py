"""How well models do, and how far the oracles can be trusted."""
