"""Proof by experiment that the built artefact keeps its promises, whatever its surroundings do."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
