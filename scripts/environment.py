"""The step of `make deploy` before `sam deploy`: show where it deploys to.

    python scripts/environment.py ENVIRONMENT [--check | --next] [OPTIONS OF sam deploy]

Run it in the folder of samconfig.toml. With `--check`, it only checks that samconfig.toml has the environment: SAM CLI
ignores an unknown one. With `--next`, it shows the command to run after the first deployment. This script runs in SAM's
environment, so it imports only the standard library and boto3.
"""

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main(arguments: list[str]) -> str:
    """Return the text to print. Raises SystemExit if the environment does not exist, or if there are no credentials."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("environment")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--next", action="store_true")
    parser.add_argument("--stack-name")
    parser.add_argument("--region")
    parser.add_argument("--profile")
    options, _ = parser.parse_known_args(arguments)
    settings = _settings(options.environment)
    if options.check:
        return ""
    stack = options.stack_name or settings["stack_name"]
    if options.next:
        if not Path("cli").is_dir():
            return (
                "\nTo connect a new stack with OpenAI:\n"
                "  1. In OpenAI's dashboard, open your project's webhooks. Create an endpoint for WebhookUrl.\n"
                "  2. Run the StoreSecretCommand above, and paste the signing secret that the dashboard shows.\n"
            )
        names = {"stack": stack, "profile": options.profile, "region": options.region}
        flags = "".join(f" --{name} {value}" for name, value in names.items() if value not in (None, "openai-webhooks"))
        return (
            "\nTo connect a new stack with OpenAI, run this. It asks for an API key of your OpenAI project:\n"
            f"  .venv/bin/openai-webhooks endpoint create{flags}\n"
        )
    try:
        session = boto3.Session(
            profile_name=options.profile or settings.get("profile"),
            region_name=options.region or settings.get("region"),
        )
        if not session.region_name:
            sys.exit("No region is set. Set AWS_DEFAULT_REGION, or a region in your AWS profile.")
        account = session.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS does not accept your credentials: {error}\nSign in again. Then run: aws sts get-caller-identity")
    return (
        f"Environment: {options.environment}\n"
        f"Stack:       {stack}\n"
        f"Account:     {account}\n"
        f"Region:      {session.region_name}\n"
    )


def _settings(environment: str) -> dict[str, Any]:
    """Return the settings of `sam deploy` in an environment of samconfig.toml."""
    config = tomllib.loads(Path("samconfig.toml").read_text(encoding="utf-8"))
    environments = [name for name, value in config.items() if isinstance(value, dict)]
    if environment not in environments:
        sys.exit(
            f"samconfig.toml has no environment {environment!r}. It has: {', '.join(environments)}.\n"
            f"Choose one, for instance: make deploy ENV={environments[0]}"
        )
    commands = config[environment]
    merged: dict[str, Any] = {}
    for command in ("global", "deploy"):
        merged |= commands.get(command, {}).get("parameters", {})
    return merged


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
