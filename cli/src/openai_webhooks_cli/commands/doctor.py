"""`openai-webhooks doctor`: find what keeps events from arriving, and name the command that fixes it."""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text

from openai_webhooks_cli.aws.activity import start
from openai_webhooks_cli.aws.tap import PROBE_TIMEOUT, Tap, open_tap
from openai_webhooks_cli.commands.doctor_checks import CHECKS, NO_ENDPOINT, Finding, NotChecked, Visit
from openai_webhooks_cli.openai_platform.endpoints import connect
from openai_webhooks_cli.shell.command import FAILED, Selection, Yes, command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, explain, is_denied
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.stop import Stop

_MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red"), "skipped": ("-", "dim")}


@command("doctor")
def doctor(
    output: Output,
    selection: Selection,
    probe: Annotated[
        bool, typer.Option("--probe", help="Let OpenAI deliver a test event, and time it. It reaches your subscribers.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
    yes: Yes = False,
) -> None:
    """Check everything between OpenAI and your subscribers.

    Each problem has a code and the command that fixes it. The exit status is 1
    if there is a problem. The checks of OpenAI's side need OPENAI_API_KEY.
    """
    if probe:
        connect()  # without a key, say so before anything else
    found = selection.find(output)
    if probe and not output.confirm("Let OpenAI send a test event, which reaches your subscribers?", yes=yes):
        raise typer.Abort
    visit = Visit(found)
    with output.progress("Checking"):
        results = examine(visit)
    for name, finding in results:
        _print(output, name, finding, selection)
    findings = [finding for _, finding in results]
    if probe:
        findings += _run(partial(_probe, output), visit)
        _print(output, "probe", findings[-1], selection)
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
    except (CannotRun, NotChecked) as error:
        findings.append(Finding(str(error), "SKIPPED"))
    except (BotoCoreError, ClientError) as error:
        findings.append(Finding(explain(error, "doctor"), "SKIPPED" if is_denied(error) else "W_CHECK"))
    return findings


def _severity(finding: Finding) -> str:
    return {"E": "failure", "W": "warning", "S": "skipped"}.get(finding.code[:1], "ok")


def _print(output: Output, name: str, finding: Finding, selection: Selection) -> None:
    finding, severity = finding._replace(fix=_complete(finding.fix, selection)), _severity(finding)
    output.record(type="finding", check=name, severity=severity, **finding._asdict())
    mark, style = _MARKS[severity]
    code = f"  [{finding.code}]" if severity in ("failure", "warning") else ""
    output.line(Text.assemble((mark, style), f" {name:<14}  {finding.text}", (code, style)))
    if finding.fix:
        output.line(f"{'':<18}{finding.fix}")


def _complete(fix: str, selection: Selection) -> str:
    """Return a command with the options that select the stack. An `aws` command has all but the profile."""
    names = {"openai-webhooks": ("stack", "profile", "region"), "aws": ("profile",)}.get(fix.partition(" ")[0], ())
    given = selection.options
    return fix + "".join(f" --{name} {shlex.quote(given[name])}" for name in names if name in given)


def _verdict(output: Output, findings: Sequence[Finding], *, strict: bool) -> bool:
    """Print the verdict. Return whether the stack passes."""
    counts = Counter(map(_severity, findings))
    passes = not counts["failure"] and not (strict and counts["warning"])
    names = {"failures": "failure", "warnings": "warning", "skipped": "skipped"}
    output.record(type="verdict", ok=passes, **{name: counts[severity] for name, severity in names.items()})
    text = f"Problems: {counts['failure']}. Warnings: {counts['warning']}. Skipped: {counts['skipped']}."
    loss = " Events can be lost until each ✗ is fixed." if counts["failure"] else ""
    output.line(text + loss, "green" if passes else "red")
    return passes


def _probe(output: Output, visit: Visit) -> Iterator[Finding]:
    """Let OpenAI deliver a test event, and wait for it on the bus."""
    stack, api, endpoints = visit.stack, visit.api.result(), visit.endpoints.result()
    if not endpoints:
        raise NotChecked(NO_ENDPOINT)
    handlers = visit.handlers.result()
    event_type = next((name for name in endpoints[0].event_types if handlers[name]), "response.completed")
    pattern = {"source": [stack.event_source], "detail-type": [event_type], "replay-name": [{"exists": False}]}
    try:
        with Stop() as stop, open_tap(stack, [pattern], stop, on_cleanup_failure=output.error) as tap:
            sent_at = stack.now()
            status = api.test(endpoints[0].id, event_type)
            text = f"{event_type}: OpenAI got {status} after {stack.now() - sent_at:.1f} s"
            arrived_at = _wait_for_event(tap, stop) if 200 <= status < 300 else None
    except (CannotRun, Failed) as error:
        yield Finding(str(error), "E_PROBE", "openai-webhooks endpoint list")
        return
    if arrived_at:
        yield Finding(f"{text}; the event was on the bus after {arrived_at - sent_at:.1f} s")
    else:
        yield Finding(f"{text}; the event did not get to the bus.", "E_PROBE", "openai-webhooks status")


def _wait_for_event(tap: Tap, stop: Stop) -> float | None:
    """Return when the bus passed on the first event, in Unix seconds, or None after PROBE_TIMEOUT."""
    deadline = time.monotonic() + PROBE_TIMEOUT
    while time.monotonic() < deadline:
        for message in tap.receive(wait=1):
            if not tap.is_probe(message):
                return message.sent_at
        stop.check()
    return None
