"""Coverage-guided fuzzing of `verify`, `unwrap` and the handler: `make fuzz`."""
