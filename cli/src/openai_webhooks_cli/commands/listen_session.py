"""A session of `listen`: events come in, are shown and forwarded, until a key, a signal or the end of the time."""

import os
import queue
import select
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.tap import LEASE, RENEWAL, VISIBILITY, Received, Tap, event_id
from openai_webhooks_cli.commands.event_rows import answer_fields, answer_row, details, event_fields, event_row
from openai_webhooks_cli.commands.forwarding import Forwarder
from openai_webhooks_cli.commands.listen_page import LivePage
from openai_webhooks_cli.shell.errors import explain, is_expired
from openai_webhooks_cli.shell.next_command import openai_webhooks
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.times import clock, iso_time

_REMEMBERED = 10_000  # ids of events, to show each once although SQS delivers at least once
POLL = 20  # seconds that SQS waits for an event, its maximum
_RECONNECT_INTERVAL = 5  # seconds
_QUIT = object()


class Settings(NamedTuple):
    """What a session does with events, and when it ends."""

    forwarder: Forwarder
    maximum: int | None
    """Events. None for no limit."""
    seconds: float | None
    """None for no limit."""
    page: LivePage | None


class LiveSession:
    """Receives events in one thread, handles them in another, and waits for keys, signals and the end in the caller's.

    All its threads are daemons, so that a server that does not answer cannot delay the end.
    """

    def __init__(self, tap: Tap, output: Output, settings: Settings) -> None:
        self._tap = tap
        self._output = output
        self._settings = settings
        self._controls: queue.SimpleQueue[object] = queue.SimpleQueue()
        # Full while the handler is busy. Events then wait in SQS, not in memory.
        self._work: queue.Queue[Received] = queue.Queue(1)
        self._handled: queue.SimpleQueue[Received] = queue.SimpleQueue()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._accepted = 0
        self._finished = 0
        self._last: Received | None = None
        self._lock = threading.Lock()  # for what is printed and counted
        self._contact_at = tap.stack.now()
        self._closing = False
        self._failure: BaseException | None = None

    def quit(self) -> None:
        """End `run`. A signal handler can call this."""
        self._controls.put(_QUIT)

    def run(self, *, interactive: bool) -> None:
        """Handle events until a signal, a key, the maximum or the end of the time."""
        for work in (self._receive, self._handle):
            threading.Thread(target=self._repeat, args=[work], daemon=True).start()
        deadline = time.monotonic() + self._settings.seconds if self._settings.seconds else None
        with _keys(self._controls) if interactive else nullcontext():
            while (control := self._next_control(deadline)) not in (_QUIT, "q"):
                if control == "r":
                    self._send_again()
                elif control == "d":
                    self._print_details()
        self._closing = True
        if self._failure:
            raise self._failure

    def _next_control(self, deadline: float | None) -> object:
        try:
            return self._controls.get(timeout=None if deadline is None else max(0, deadline - time.monotonic()))
        except queue.Empty:
            return _QUIT

    def _repeat(self, work: Callable[[], None]) -> None:
        try:
            while not self._closing:
                work()
        except BaseException as error:  # noqa: BLE001  # `run` raises it
            self._failure = error
            self.quit()

    def _receive(self) -> None:
        try:
            self._delete_handled()
            self._keep_lease()
            messages = self._tap.receive(wait=POLL)
        except (BotoCoreError, ClientError) as error:
            if not self._closing:
                self._reconnect(error)
            return
        self._contact_at = self._tap.stack.now()
        for message in messages:
            if not self._is_new(message):
                self._handled.put(message)
            elif self._accepted != self._settings.maximum:
                self._accepted += 1
                self._offer(message)

    def _offer(self, message: Received) -> None:
        """Give an event to the handler, as soon as it is free."""
        while not self._closing:
            try:
                self._work.put(message, timeout=5)
            except queue.Full:
                with suppress(BotoCoreError, ClientError):  # the next `_receive` reports it
                    self._keep_lease()
            else:
                return

    def _handle(self) -> None:
        message = self._work.get()
        received_at = self._tap.stack.now()
        event = message.event
        with self._lock:
            self._last = message
            self._output.line(event_row(event, message, received_at))
        page = self._settings.page
        record_id = page.received(event, message, received_at) if page else 0
        answers = self._settings.forwarder.forward(event, message.body)
        if page:
            page.forwarded(record_id, answers)
        with self._lock:
            suffix = "" if self._last is message else f"  {event_id(event)}"
            for answer in answers:
                self._output.line(answer_row(answer, suffix))
            forward = {"forward": answer_fields(answers)} if answers else {}
            record = {"type": "event", "received_at": iso_time(received_at), **event_fields(message), **forward}
            self._output.record(**record)
            self._finished += 1
            if self._finished == self._settings.maximum:
                self.quit()
        self._handled.put(message)

    def _delete_handled(self) -> None:
        """Remove handled events from the queue. SQS delivers the others a second time, and `_is_new` ignores them."""
        while not self._handled.empty():
            self._tap.delete([self._handled.get() for _ in range(min(10, self._handled.qsize()))])

    def _keep_lease(self) -> None:
        lapsed_at = self._tap.lease_end
        now = self._tap.stack.now()
        if now < lapsed_at - LEASE + RENEWAL:
            return
        if not self._tap.restore():  # somebody removed the rule
            self._gap(lapsed_at - LEASE)
        elif now > lapsed_at:
            self._gap(lapsed_at)

    def _reconnect(self, error: BotoCoreError | ClientError) -> None:
        """Wait until AWS answers again, and say which events may be missing."""
        lost_at, lease_end = self._contact_at, self._tap.lease_end
        reason = explain(error)
        advice = "run 'aws sso login'; resuming by itself" if is_expired(error) else "resuming by itself"
        self._output.warning(f"{clock(time.time())}  Disconnected: {reason} ({advice})")
        self._output.record(type="reconnecting", reason=reason)
        while not self._closing:
            time.sleep(_RECONNECT_INTERVAL)
            try:
                self._tap.stack.session.renew()
                was_complete = self._tap.restore()
            except (BotoCoreError, ClientError):
                continue
            break
        else:
            return
        now = self._tap.stack.now()
        # The queue keeps events for as long as the rule matches them without a renewal.
        if not was_complete or now > lease_end or now - lost_at > LEASE:
            self._gap(lost_at)
        else:
            # What AWS sent before the connection broke is visible again only after that time.
            late = f"What came in the meantime follows within {VISIBILITY} s."
            self._output.note(f"{clock(time.time())}  Connected again. No event was missed. {late}")

    def _gap(self, start: float) -> None:
        end = self._tap.stack.now()
        show = openai_webhooks("listen", "--since", clock(start)[:5])
        self._output.warning(f"May have missed events between {clock(start)[:5]} and {clock(end)[:5]}: {show}")
        self._output.record(type="gap", **{"from": iso_time(start), "to": iso_time(end)})

    def _is_new(self, message: Received) -> bool:
        if self._tap.is_probe(message):
            return False
        event = message.event
        key = str(event.get("id") or message.receipt)
        # A replay of an event that was shown live has another id, perhaps.
        if "replay-name" in event and isinstance(event.get("detail"), dict):
            key = "detail " + str(event["detail"].get("id"))
        if key in self._seen:
            return False
        self._seen[key] = None
        if isinstance(event.get("detail"), dict):
            self._seen["detail " + str(event["detail"].get("id"))] = None
        while len(self._seen) > 2 * _REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _send_again(self) -> None:
        if not self._last:
            return
        if not self._settings.forwarder.targets:
            self._output.note("Nothing to send to. Start with --forward-to URL.")
            return
        message = self._last
        event = message.event

        def send() -> None:
            for answer in self._settings.forwarder.forward(event, message.body):
                with self._lock:
                    self._output.line(answer_row(answer, f"  {event_id(event)}, sent again"))

        # In a thread of its own, because Ctrl-C must not wait for the server.
        threading.Thread(target=send, daemon=True).start()

    def _print_details(self) -> None:
        if self._last:
            with self._lock:
                self._output.line(details(self._last))


@contextmanager
def _keys(controls: "queue.SimpleQueue[object]") -> Iterator[None]:
    """Put each key that is pressed into `controls`. Ctrl-C stays a signal."""
    try:
        import termios  # noqa: PLC0415  # Windows does not have it
        import tty  # noqa: PLC0415
    except ImportError:
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    settings = termios.tcgetattr(descriptor)
    closed = threading.Event()

    def read() -> None:
        while not closed.is_set():
            if select.select([descriptor], [], [], 0.1)[0]:
                for key in os.read(descriptor, 100).decode(errors="replace"):
                    controls.put(key)

    tty.setcbreak(descriptor)
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)
