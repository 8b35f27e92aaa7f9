"""What `openai-webhooks dev` runs and where it listens, unless its options say otherwise."""

from pathlib import Path

from openai_webhooks_cli.apigw_event import PATH

PORT = 8787
AWS_PORT = 4510  # also in sam-local.env.json
URL = f"http://127.0.0.1:{PORT}{PATH}"
AWS_URL = f"http://127.0.0.1:{AWS_PORT}"
RECEIVER = Path(__file__).resolve().parents[3] / "template.yaml"
"""The receiver's stack. It exists only if this package is used from its checkout."""
SUBSCRIBER = Path(__file__).resolve().with_name("subscriber") / "template.yaml"
