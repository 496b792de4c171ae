"""Measurements beside torch, optax and flax: one module a question, with TITLE and run(quick) -> rows."""
