"""The `openai-webhooks` program."""


def run() -> None:
    """Run the command line."""
    # The functions' processes of `dev` import this module too, and need none of the commands.
    from openai_webhooks_cli.main import app  # noqa: PLC0415

    app()
