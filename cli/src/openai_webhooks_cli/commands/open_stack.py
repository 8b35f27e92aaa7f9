"""How a command for a deployed stack starts."""

from openai_webhooks_cli.aws.stack import Session, Stack, find_stack
from openai_webhooks_cli.shell.output import Output


def open_stack(output: Output, stack: str, profile: str | None, region: str | None, endpoint_url: str | None) -> Stack:
    """Find the stack that the user selected, and show where the command works. Raises CannotRun if there is none."""
    session = Session(profile=profile, region=region, endpoint_url=endpoint_url)
    found = find_stack(session, stack)
    output.note(found.identity)
    return found
