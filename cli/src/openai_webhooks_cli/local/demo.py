"""The demo: deliver every event type, and every kind of delivery that can go wrong, and check what happens to each."""

import io
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import requests
from rich.console import Console
from rich.text import Text

from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.local_system import LocalSystem
from openai_webhooks_cli.local.progress import progress
from openai_webhooks_cli.local.work_folder import end_on_signals, work_folder

STALE_AGE = 3600  # seconds
SVG_WIDTH = 100  # columns
LABEL, ANSWER = 33, 21  # columns

_LEGEND = (
    "No subscriber: no rule matches the type, or the delivery was not published.",
    "409 InProgress: the other copy is being published. OpenAI would retry, and get 200 duplicate.",
)


class Case(NamedTuple):
    """A delivery to make, and the answers to expect."""

    label: str
    body: bytes
    headers: dict[str, str]
    expected: tuple[str, ...]
    event: dict[str, Any]


class Result(NamedTuple):
    """What a delivery was answered."""

    case: Case
    status: int
    outcome: str
    milliseconds: float

    @property
    def published(self) -> bool:
        return self.outcome == "published"

    @property
    def as_expected(self) -> bool:
        return f"{self.status} {self.outcome}" in self.case.expected


class DemoFailed(Exception):
    """Something was not as expected. The text says what."""


def run(console: Console, *, svg: Path | None = None) -> bool:
    """Run the demo and print a line for each delivery. Return whether everything was as expected.

    If it was, `svg` becomes a picture of the output.
    """
    try:
        with work_folder() as logs:
            end_on_signals(console, logs, interrupt_status=130)
            output = list(_run(console, logs))
    except DemoFailed as failure:
        console.print(str(failure), style="red", highlight=False, soft_wrap=True, markup=False)
        return False
    if svg:
        _save_svg(svg, output)
    console.print("Next: `make dev`. It prints commands to try in another terminal.", highlight=False)
    return True


def _run(console: Console, logs: Path) -> Iterator[Text]:
    """Print the output of the demo, and yield its lines. Raises DemoFailed."""
    previous_secret = samples.new_secret()
    results: list[Result] = []

    def report(problem: str) -> None:
        _print(console, Text(problem, "red"))

    with (
        progress(console) as show,
        LocalSystem(secret=previous_secret, logs=logs, on_progress=show, on_problem=report) as system,
    ):
        show("Delivering")
        header = f"{'delivery':<{LABEL}}  {'answer':<{ANSWER}}  {'ms':>5}  subscribers reached"
        yield _print(console, Text(header, "bold"))
        for result in deliver(system, secret=samples.new_secret(), previous_secret=previous_secret):
            results.append(result)
            yield _print(console, _row(system, result))
        for line in _LEGEND:
            yield _print(console, Text(line, "dim"))
        failures = list(find_failures(system, results))
    if failures:
        raise DemoFailed("\n".join([*failures, f"Failed. The functions' output is in {logs}"]))
    published = sum(result.published for result in results)
    summary = f" {len(results)} deliveries, {published} events on the bus. Each event reached its subscribers, once."
    yield _print(console, Text.assemble(("Passed:", "green"), summary))


def deliver(system: LocalSystem, *, secret: str, previous_secret: str) -> Iterator[Result]:
    """Make all deliveries of the demo. Yield each result when the subscribers have handled the event.

    The system starts with `previous_secret`. A rotation makes `secret` the current one.
    """
    with ThreadPoolExecutor() as threads:
        for concurrent in _cases(system, secret, previous_secret):
            results = list(threads.map(lambda case: _post(system.http_api.url, case), concurrent))
            system.subscribers.wait_until_idle()
            yield from results


def find_failures(system: LocalSystem, results: list[Result]) -> Iterator[str]:
    """Yield every answer that is not as expected, and every event that reached the wrong subscribers."""
    for result in results:
        if not result.as_expected:
            expected = " or ".join(result.case.expected)
            yield f"{result.case.label}: got {result.status} {result.outcome}, expected {expected}"
    published = {result.case.event["id"] for result in results if result.published}
    for event in {result.case.event["id"]: result.case.event for result in results}.values():
        expected_names = system.matching_targets(event) if event["id"] in published else []
        reached = [str(arrival) for arrival in system.subscribers.arrivals(event_id=event["id"])]
        if reached != expected_names:
            yield f"{event['type']}: reached {reached}, expected {expected_names}"
    if system.arrivals_logged() != len(published):
        yield f"the bus logged {system.arrivals_logged()} events, expected {len(published)}"


def _cases(system: LocalSystem, secret: str, previous_secret: str) -> Iterator[list[Case]]:
    """Yield the deliveries in order. Those in one list are made at the same time."""
    cases = [_case(event_type, event_type, secret=previous_secret) for event_type in CATALOG]
    for case in cases:
        yield [case]
    first = cases[0]
    retry_headers = samples.headers(
        first.body, secret=previous_secret, timestamp=int(time.time()), webhook_id=first.headers["webhook-id"]
    )
    yield [first._replace(label=f"{first.label}, redelivered", headers=retry_headers, expected=("200 duplicate",))]
    copy = _case("response.completed", "copy", secret=previous_secret)
    any_of = ("200 published", "200 duplicate", "409 InProgress")
    yield [copy._replace(label=f"response.completed, copy {n} of 2", expected=any_of) for n in (1, 2)]
    yield [_case("orchestra.failed", "orchestra.failed, unknown type", secret=previous_secret)]

    system.store_secret(secret)
    yield [_case("batch.completed", "batch.completed, new secret", secret=secret)]
    yield [_case("batch.completed", "batch.completed, previous secret", secret=previous_secret)]
    forged = _case("batch.completed", "batch.completed, forged", secret=samples.new_secret())
    yield [forged._replace(expected=("401 SignatureMismatch",))]
    stale = _case("batch.completed", "batch.completed, an hour old", secret=secret, age=STALE_AGE)
    yield [stale._replace(expected=("401 Unverified",))]
    malformed = _case("batch.completed", "an array, not an event", secret=secret, body=b"[1, 2, 3]")
    yield [malformed._replace(expected=("400 Malformed",))]


def _case(event_type: str, label: str, *, secret: str, age: int = 0, body: bytes | None = None) -> Case:
    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    body = body or samples.encode(event)
    headers = samples.headers(body, secret=secret, timestamp=now - age, webhook_id=samples.new_id("wh_"))
    return Case(label, body, headers, ("200 published",), event)


def _post(url: str, case: Case) -> Result:
    start = time.perf_counter()
    response = requests.post(url, data=case.body, headers=case.headers, timeout=30)
    milliseconds = (time.perf_counter() - start) * 1000
    answer = response.json()
    outcome = answer.get("outcome") or answer.get("error") or answer.get("message")
    return Result(case, response.status_code, outcome, milliseconds)


def _row(system: LocalSystem, result: Result) -> Text:
    arrivals = system.subscribers.arrivals(event_id=result.case.event["id"]) if result.published else []
    answer = f"{result.status} {result.outcome}"
    reached = ", ".join(map(str, arrivals))
    text = f"{result.case.label:<{LABEL}}  {answer:<{ANSWER}}  {result.milliseconds:>5.0f}  {reached}"
    failed = not result.as_expected or any(arrival.failure for arrival in arrivals)
    return Text(text.rstrip(), "red" if failed else "")


def _print(console: Console, line: Text) -> Text:
    # On a narrow terminal, the terminal wraps a line. A pipe gets one line for each delivery.
    console.print(line, soft_wrap=True, highlight=False)
    return line


def _save_svg(path: Path, output: Sequence[Text]) -> None:
    recorder = Console(record=True, width=SVG_WIDTH, file=io.StringIO(), force_terminal=True)
    for line in (Text("$ make demo"), *output):
        recorder.print(line, highlight=False)
    svg = recorder.export_svg(title="openai-webhooks")
    # Without its web font, the picture loads nothing from other servers.
    path.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")
