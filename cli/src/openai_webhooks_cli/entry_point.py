"""The `openai-webhooks` program."""

from openai_webhooks_cli.quiet_ctrl_c import quiet_ctrl_c


def run() -> None:
    """Run the command line."""
    with quiet_ctrl_c():
        from openai_webhooks_cli.main import app  # noqa: PLC0415  # Ctrl-C can come while Python imports it

    app()
