"""`make chaos`: the built artifact, real processes, injected faults, and a check of every promise."""
