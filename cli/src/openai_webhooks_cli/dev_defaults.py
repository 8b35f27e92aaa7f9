"""Where `openai-webhooks dev` listens, unless its options say otherwise."""

from openai_webhooks_cli.apigw_event import PATH

PORT = 8787
AWS_PORT = 4510  # also in sam-local.env.json
URL = f"http://127.0.0.1:{PORT}{PATH}"
AWS_URL = f"http://127.0.0.1:{AWS_PORT}"
