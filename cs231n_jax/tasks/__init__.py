"""Tasks: what turns a model into a loss and metrics."""
