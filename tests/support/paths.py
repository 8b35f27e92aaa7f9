"""Where things are in this repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARTIFACT = ROOT / ".aws-sam/build/ReceiverFunction"
"""What `make build` makes of the receiver."""
