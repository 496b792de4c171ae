"""Programs: flags only, the logic is in cs231n_jax."""
