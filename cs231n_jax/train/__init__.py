"""Training: state, step, loop, snapshots, averages, records."""
