"""Everything that cs231n teaches, as a functional JAX/Flax research codebase."""
