"""The `openai-webhooks` command: send signed deliveries, and run the whole system on this machine."""
