"""`openai-webhooks doctor`: find what keeps events from arriving, and name the command that fixes it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text

from openai_webhooks_cli.commands.doctor_checks import CHECKS, NO_ENDPOINT, Finding, NotChecked, Visit
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.openai_platform import sample_delivery
from openai_webhooks_cli.openai_platform.endpoints import connect
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.background import start
from openai_webhooks_cli.shell.command import FAILED, command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, NotAllowed, explain, is_denied
from openai_webhooks_cli.shell.next_command import openai_webhooks
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.stop import Stop

app = typer.Typer()

DENIED: Final = "DENIED"
"""The code of a check that AWS or OpenAI does not allow."""

_MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red"), "skipped": ("-", "dim")}


@command(app, "doctor")
def doctor(
    probe: Annotated[
        bool, typer.Option("--probe", help="Let OpenAI deliver a sample event, and follow it as `endpoint test` does.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on warnings too, and on checks that were not allowed.")
    ] = False,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Leave out findings with this code, such as W_VERSION.")
    ] = None,
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Check everything between OpenAI and your subscribers.

    Each problem has a code and the command that fixes it. The exit status is 1
    if there is a problem. The checks of OpenAI's side need OPENAI_API_KEY.
    """
    output = Output(as_json=as_json)
    if probe:
        connect()  # without a key, say so before anything else
    found = open_stack(output, stack, profile, region, endpoint_url)
    if probe and not output.confirm("Let OpenAI send a sample event? Rules that match its type pass it on.", yes=yes):
        raise typer.Abort
    visit = Visit(found)
    with output.progress("Checking"):
        results = [result for result in examine(visit) if result[1].code not in (ignore or ())]
    for name, finding in results:
        _print(output, name, finding)
    findings = [finding for _, finding in results]
    if probe:
        findings += _run(partial(_probe, output), visit)
        _print(output, "probe", findings[-1])
    if not _verdict(output, findings, strict=strict):
        raise typer.Exit(FAILED)


def examine(visit: Visit) -> list[tuple[str, Finding]]:
    """Run the checks side by side. Return their findings, each with the name of its check."""
    running = {name: start(partial(_run, check, visit)) for name, check in CHECKS.items()}
    return [(name, finding) for name, future in running.items() for finding in future.result()]


def _run(check: Callable[[Visit], Iterator[Finding]], visit: Visit) -> list[Finding]:
    """Return a check's findings. A check that cannot run does not stop the others."""
    findings: list[Finding] = []
    try:
        findings.extend(check(visit))
    except NotAllowed as error:
        findings.append(Finding(str(error), DENIED))
    except (CannotRun, NotChecked) as error:
        findings.append(Finding(str(error), "SKIPPED"))
    except (BotoCoreError, ClientError) as error:
        findings.append(Finding(explain(error), DENIED if is_denied(error) else "W_CHECK"))
    return findings


def _severity(finding: Finding) -> str:
    return {"E": "failure", "W": "warning", "S": "skipped", "D": "skipped"}.get(finding.code[:1], "ok")


def _print(output: Output, name: str, finding: Finding) -> None:
    severity = _severity(finding)
    mark, style = _MARKS[severity]
    code = f"  [{finding.code}]" if severity in ("failure", "warning") else ""
    fix = f"\n{'':<18}{finding.fix}" if finding.fix else ""
    text = Text.assemble((mark, style), f" {name:<14}  {finding.text}", (code, style), fix)
    output.item(text, type="finding", check=name, severity=severity, **finding._asdict())


def _verdict(output: Output, findings: Sequence[Finding], *, strict: bool) -> bool:
    """Print the verdict. Return whether the stack passes."""
    counts = Counter(map(_severity, findings))
    denied = any(finding.code == DENIED for finding in findings)
    passes = not counts["failure"] and not (strict and (counts["warning"] or denied))
    names = {"failures": "failure", "warnings": "warning", "skipped": "skipped"}
    text = f"Problems: {counts['failure']}. Warnings: {counts['warning']}. Skipped: {counts['skipped']}."
    loss = " Events can be lost until each ✗ is fixed." if counts["failure"] else ""
    numbers = {name: counts[severity] for name, severity in names.items()}
    output.item(text + loss, "green" if passes else "red", type="verdict", ok=passes, **numbers)
    return passes


def _probe(output: Output, visit: Visit) -> Iterator[Finding]:
    """Let OpenAI deliver a sample event, and wait for it on the bus."""
    stack, api, endpoints = visit.stack, visit.api.result(), visit.endpoints.result()
    if not endpoints:
        raise NotChecked(NO_ENDPOINT)
    event_type = sample_delivery.choose_type(stack, endpoints[0].event_types)
    try:
        with output.progress(f"Following a sample of {event_type} from OpenAI to the bus"), Stop(output.error) as stop:
            followed = sample_delivery.follow(stack, api, endpoints[0], event_type, stop)
    except (CannotRun, Failed) as error:
        yield Finding(str(error), "E_PROBE", openai_webhooks("endpoint", "list"))
        return
    text = f"{event_type}: OpenAI got {followed.status} after {followed.answered_after:.1f} s"
    if followed.arrived_after is not None:
        yield Finding(f"{text}; the event was on the bus after {followed.arrived_after:.1f} s")
    else:
        yield Finding(f"{text}; the event did not get to the bus.", "E_PROBE", openai_webhooks("status"))
