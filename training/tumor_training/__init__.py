"""Training of the two networks: data, splits, networks, losses, metrics, runs."""
