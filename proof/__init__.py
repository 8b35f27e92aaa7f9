"""Proof by experiment that the built artefact keeps its promises, whatever its surroundings do."""
