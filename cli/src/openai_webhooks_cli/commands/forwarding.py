"""Forward events from the bus to a server on this machine, as if OpenAI had delivered them to it."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import requests
import typer

from openai_webhooks_cli import samples
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.printable import printable

TIMEOUT = 30  # seconds
_LONGEST_BODY = 300  # characters that are shown of an answer

Form = Literal["signed", "unsigned", "eventbridge"]

Unsigned = Annotated[bool, typer.Option("--unsigned", help="Post events without a signature.")]
AsForm = Annotated[
    Literal["eventbridge"] | None, typer.Option("--as", help="Post what a Lambda target of a rule gets.")
]


class Target(NamedTuple):
    """A URL that gets the events of some types."""

    url: str
    event_type: str
    """A type, or a pattern with `*`."""

    def takes(self, event_type: str) -> bool:
        return fnmatchcase(event_type, self.event_type)


class Answer(NamedTuple):
    """What a local server answered."""

    url: str
    status: int | None
    """None if the server did not answer."""
    milliseconds: float
    text: str
    """The start of the body of an answer that is not 2xx, or why there was no answer."""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Forwarder:
    """Posts events to targets.

    A delivery is signed with the development secret of this machine, never with OpenAI's. `form` "eventbridge" posts
    what a Lambda target gets, without a signature.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        form: Form = "signed",
    ) -> None:
        self.targets = targets
        self._form = form
        self._secret = development_secret() if form == "signed" else ""

    def forward(self, event: Mapping[str, Any], body: str) -> list[Answer]:
        """Post an event to each target that takes its type. `body` is the event's JSON, as the bus passes it."""
        takers = [target.url for target in self.targets if target.takes(str(event.get("detail-type", "")))]
        return [self._post(url, event, body) for url in takers]

    def _post(self, url: str, event: Mapping[str, Any], body: str) -> Answer:
        if self._form == "eventbridge":
            content, headers = body.encode(errors="surrogatepass"), {"content-type": "application/json"}
        else:
            content, headers = self._delivery(event)
        start = time.perf_counter()
        try:
            response = requests.post(url, data=content, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except requests.Timeout:
            return Answer(url, None, _since(start), f"no answer within {TIMEOUT} s")
        except requests.RequestException as error:
            return Answer(url, None, _since(start), f"no answer ({type(error).__name__})")
        text = "" if response.ok else printable(response.text, _LONGEST_BODY)
        return Answer(url, response.status_code, _since(start), text)

    def _delivery(self, event: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a delivery. Its id is the event's, so that copies have the same."""
        detail = event.get("detail", {})
        content = samples.encode(detail)
        webhook_id = str(detail.get("id") or event.get("id"))
        if self._form == "unsigned":
            return content, {"content-type": "application/json", "webhook-id": webhook_id}
        return content, samples.headers(content, secret=self._secret, timestamp=int(time.time()), webhook_id=webhook_id)


def build_forwarder(urls: Sequence[str], *, unsigned: bool, as_form: str | None) -> Forwarder:
    """Return the forwarder for `[TYPE=]URL` and the options of forwards. Raises CannotRun."""
    if unsigned and as_form:
        raise CannotRun("Choose either --unsigned or --as eventbridge.")
    form: Form = "eventbridge" if as_form else "unsigned" if unsigned or not urls else "signed"
    return Forwarder(parse_targets(urls), form=form)


def parse_targets(values: Sequence[str]) -> list[Target]:
    """Read `URL` or `TYPE=URL`. A URL can be only a port of this machine. Raises CannotRun."""
    targets = []
    for value in values:
        event_type, separator, url = value.partition("=")
        if not separator or "/" in event_type or ":" in event_type:
            event_type, url = "*", value
        if url.isdecimal():
            url = f"localhost:{url}"
        if "://" not in url:
            url = f"http://{url}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CannotRun(f"{printable(value)} is not a URL. Write for instance http://localhost:8000/webhooks.")
        targets.append(Target(url, event_type))
    return targets


def absent_servers(targets: Sequence[Target]) -> list[str]:
    """Return the URLs on which nothing listens."""
    absent = []
    for url in dict.fromkeys(target.url for target in targets):
        parts = urlsplit(url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((str(parts.hostname), port), timeout=1).close()
        except (OSError, ValueError):
            absent.append(url)
    return absent


def development_secret() -> str:
    """Return the secret that forwards on this machine are signed with. It is created at the first call."""
    path = Path(typer.get_app_dir("openai-webhooks"), "development-secret")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(samples.new_secret())
    except FileExistsError:
        pass
    except OSError as error:
        raise CannotRun(f"Cannot write {path} ({error.strerror}). Forwards are signed with the secret in it.") from None
    return path.read_text().strip()


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
