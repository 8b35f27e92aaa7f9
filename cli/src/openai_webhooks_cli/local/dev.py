"""`openai-webhooks dev`: the system stays up and prints a line for each delivery.

It also prints a line for each event that another receiver publishes to its bus.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from openai_webhooks_cli import dev_defaults
from openai_webhooks_cli.apigw_event import PATH
from openai_webhooks_cli.local.dev_page import DevPage
from openai_webhooks_cli.local.event_bridge import Event
from openai_webhooks_cli.local.http_api import AnsweredDelivery
from openai_webhooks_cli.local.local_system import LocalSystem
from openai_webhooks_cli.local.moto_aws import docker_bridge_addresses
from openai_webhooks_cli.local.progress import progress
from openai_webhooks_cli.local.sam_template import REGION
from openai_webhooks_cli.local.subscribers import Arrival
from openai_webhooks_cli.local.work_folder import end_on_signals, work_folder
from openai_webhooks_cli.local.wsgi_server import LOOPBACK

Happening = AnsweredDelivery | Event | Arrival | str
"""A request, an event on the bus, a retry, or a text to print."""


def run(
    console: Console,
    *,
    port: int,
    aws_port: int,
    secret: str,
    templates: Sequence[Path],
    parameters: Mapping[str, str],
    with_page: bool,
) -> None:
    """Run until a signal. Raises PortTakenError and TemplateError."""
    happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
    arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
    with work_folder() as logs:
        end_on_signals(console, logs, interrupt_status=0)
        with (
            ExitStack() as starting,
            LocalSystem(
                secret=secret,
                logs=logs,
                templates=templates,
                parameters=parameters,
                port=port,
                aws_port=aws_port,
                aws_hosts=[LOOPBACK, *docker_bridge_addresses()],
                on_progress=starting.enter_context(progress(console)),
                on_answer=happenings.put,
                on_problem=happenings.put,
                on_arrival=lambda arrival: (arrivals if arrival.attempt == 1 else happenings).put(arrival),
                on_openai_answer=lambda request, status: happenings.put(
                    f"{f'{status} from OpenAI':<21} {request.action} {request.id}".rstrip()
                ),
                on_workflow_end=happenings.put,
            ) as system,
        ):
            page = DevPage(system.http_api.url, secret, rules=system.verdicts, run_again=system.subscribers.run_again)
            if with_page:
                system.http_api.fallback = page.page.respond
            system.watch_bus(happenings.put)
            starting.close()
            _print(console, "\n".join(_introduction(system, secret, logs, with_page=with_page)))
            _start(lambda: system.reload_on_change(lambda what: happenings.put(f"reloaded {what}")))
            _start(lambda: _repeat(lambda: page.arrived(arrivals.get())))
            # The page shows an answer at once. A line waits for the subscribers.
            lines: queue.SimpleQueue[Happening] = queue.SimpleQueue()
            _start(lambda: _repeat(lambda: lines.put(_show_on_page(system, page, happenings.get()))))
            _repeat(lambda: _print(console, _line(system, lines.get())))


def _start(work: Callable[[], object]) -> None:
    def run() -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001  # any error ends `dev`
            # Without this thread, `dev` would be silent.
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def _repeat(work: Callable[[], object]) -> NoReturn:
    while True:
        work()


def _show_on_page(system: LocalSystem, page: DevPage, happening: Happening) -> Happening:
    if isinstance(happening, AnsweredDelivery):
        page.answered(happening)
    elif isinstance(happening, Arrival):
        page.arrived(happening)
    elif isinstance(happening, Mapping):
        page.published(happening, elsewhere=not system.http_api.has_published(happening["id"]))
    return happening


def _introduction(system: LocalSystem, secret: str, logs: Path, *, with_page: bool) -> Iterator[str]:
    url, aws_url, command = system.http_api.url, system.aws.url, Path(sys.argv[0])
    if with_page:
        yield f"Page    {url.removesuffix(PATH)}/"
    yield f"URL     {url}"
    yield f"Secret  {secret}"
    yield f"AWS     {aws_url} (region {REGION}, any credentials), bus {system.bus}"
    for rule in system.rules():
        targets = ", ".join(system.aws.event_bridge.name(target) for target in rule.targets)
        yield f"Rule    {rule.name} -> {targets}{'' if rule.state == 'ENABLED' else ' (disabled)'}"
    yield f"Logs    {logs}, a file for each function\n"
    yield f"Send an event:\n  {command} send response.completed{'' if url == dev_defaults.URL else f' --url {url}'}\n"
    # With both options, credentials and a region in the shell do not lead to a real account.
    place = f"--endpoint-url {aws_url} --region {REGION}"
    yield f"Try a command for deployed stacks:\n  {command} listen {place}\n"
    key = f"AWS_ACCESS_KEY_ID={system.aws.access_key} AWS_SECRET_ACCESS_KEY=local"
    yield f"Let `sam local` use this AWS, in its terminal:\n  export {key}\n"
    for arn in system.workflows:
        start = f"aws stepfunctions start-execution {place}"
        keys = "AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local"
        body = '{"model": "gpt-6.1-sol", "input": "Hello"}'  # the example needs it
        yield f"Start a workflow:\n  {keys} {start} --state-machine-arn {arn} --input '{body}'\n"
    yield "Save a file of a function to reload it. Press Ctrl-C to stop.\n"


def _line(system: LocalSystem, happening: Happening) -> str:
    """Return the line for a request, an event on the bus or a text. It is empty if the event's delivery has a line."""
    if isinstance(happening, Arrival):
        attempt = f"attempt {happening.attempt}"
        happening = f"{attempt:<21} {happening.event.get('detail-type', ''):<32} {'':>8}  -> {happening}"
    if isinstance(happening, str):
        return f"{time.strftime('%H:%M:%S')}  {happening}"
    if isinstance(happening, AnsweredDelivery):
        result, event_type = f"{happening.status} {happening.outcome}", happening.event_type
        duration = f"{happening.seconds * 1000:.0f} ms"
        reached = happening.reason
        if result == "200 published":
            on_bus = system.on_bus(json.loads(happening.body))
            reached = _reached(system, {**on_bus, "id": happening.eventbridge_id})
    elif system.http_api.has_published(happening["id"]):
        return ""
    else:
        # Another receiver published the event, for example a function in `sam local`.
        result, event_type, duration = "on the bus", happening["detail-type"], ""
        reached = _reached(system, happening)
    return f"{time.strftime('%H:%M:%S')}  {result:<21} {event_type:<32} {duration:>8}  {reached}".rstrip()


def _reached(system: LocalSystem, on_bus: Event) -> str:
    """Return what got an event on the bus, or the rule that comes nearest to it."""
    system.subscribers.wait_until_idle()
    arrivals = [arrival for arrival in system.subscribers.arrivals(eventbridge_id=on_bus["id"]) if arrival.attempt == 1]
    verdicts = system.verdicts(on_bus)
    times = Counter(arrival.subscriber for arrival in arrivals)
    reached = [f"{a} by {a.rule}" if times[a.subscriber] > 1 else str(a) for a in arrivals]
    targets = [target for verdict in verdicts if verdict.passes for target in verdict.targets]
    reached += [target for target in targets if target not in times]
    if reached:
        return f"-> {', '.join(reached)}"
    mismatches = [(v.mismatch.matched, v, v.mismatch) for v in verdicts if v.is_enabled and v.mismatch]
    if not mismatches:
        return "-> no subscriber"
    _, nearest, mismatch = max(mismatches, key=lambda item: item[0])
    return f"-> no subscriber (nearest: {', '.join(nearest.targets)}, {mismatch.text(with_payload=False)})"


def _print(console: Console, text: str) -> None:
    if text:
        console.print(text, soft_wrap=True, highlight=False, markup=False)
