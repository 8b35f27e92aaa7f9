"""`openai-webhooks dev`, `demo` and `send`, as a user runs them."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from typer.testing import CliRunner, Result

from cli.tests.support.local_bus import client
from openai_webhooks_cli import samples
from openai_webhooks_cli.dev_defaults import SUBSCRIBER
from openai_webhooks_cli.main import app
from tests.support.background import wait_until

COMMAND = str(Path(sys.executable).with_name("openai-webhooks"))

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters: { Reply: { Type: String, Default: "" } }
Resources:
  Plain:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code/
      Handler: app.handler
      Runtime: python3.1
      Layers: [!Ref Own]
      LoggingConfig: { LogGroup: plain-log }
      Environment: { Variables: { REPLY: !Ref Reply, TZ: ":Asia/Tokyo" } }
      Events:
        Rule:
          Type: EventBridgeRule
          Properties:
            EventBusName: !ImportValue openai-webhooks-EventBusName
            Pattern: { source: [openai.com], detail-type: [{ prefix: batch. }] }
  Node:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code/
      Handler: index.handler
      Runtime: nodejs22.x
      Events:
        Rule:
          Type: EventBridgeRule
          Properties:
            EventBusName: !ImportValue openai-webhooks-EventBusName
            Pattern: { source: [openai.com] }
  Own:
    Type: AWS::Serverless::LayerVersion
    Properties: { ContentUri: layer/ }
  Stream:
    Type: AWS::Kinesis::Stream
    Properties: { ShardCount: 1 }
"""
"""A user's own stack: a function without Timeout and MemorySize, and things that do not run here."""

HANDLER = """
import os, own, pydantic
def handler(event, context):
    match event["detail"]["data"]["id"]:
        case "raise": raise ValueError(*map(os.environ.get, own.NAMES))
        case "die": os._exit(7)
"""


class Dev:
    """A running `dev`. `until` reads its output."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.output = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.until(r"URL +(\S+)")
        self.aws_url = self.until(r"AWS +(\S+)")

    def until(self, pattern: str) -> str:
        """Read lines until one matches, and return its first group."""
        while True:
            try:
                line = self._lines.get(timeout=60)
            except queue.Empty:
                raise AssertionError(f"no line matches {pattern}:\n{self.output}") from None
            self.output += line
            if match := re.search(pattern, line):
                return match[1]

    def end(self) -> str:
        """Wait for the end. Return everything that `dev` printed."""
        self.process.wait(5)
        self._reader.join(5)
        while not self._lines.empty():
            self.output += self._lines.get()
        return self.output

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)

    def send(self, event_type: str, *options: str) -> Result:
        return CliRunner().invoke(app, ["send", event_type, f"--url={self.url}", *options])


@contextmanager
def running(folder: Path, *arguments: str, command: str = "dev") -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own, like a foreground job of a shell. Temporary files are in `folder`."""
    with subprocess.Popen(
        [COMMAND, command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(folder)},
        cwd=folder,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def running_dev(folder: Path, *templates: Path, parameter: str = "") -> Iterator[Dev]:
    options = [f"--template={template}" for template in templates]
    options += [f"--parameter={parameter}"] if parameter else []
    with running(folder, "--port=0", "--aws-port=0", *options) as process:
        yield Dev(process, folder)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with running_dev(tmp_path_factory.mktemp("dev")) as dev:
        yield dev


@pytest.fixture
def own_stack(tmp_path: Path) -> Path:
    """The template of a user's own stack."""
    folder = tmp_path / "mine"
    (folder / "code").mkdir(parents=True)
    (folder / "layer/python").mkdir(parents=True)
    (folder / "layer/python/own.py").write_text("NAMES = 'REPLY', 'TZ', 'AWS_LAMBDA_LOG_GROUP_NAME'")
    (folder / "code/app.py").write_text(HANDLER)
    (folder / "template.yaml").write_text(TEMPLATE)
    return folder / "template.yaml"


# ---- Deliveries ----


def test_dev_prints_commands_with_its_urls(dev: Dev) -> None:
    assert dev.until(r"send response.completed --url (\S+)") == dev.url
    assert dev.until(r"listen (.*)") == f"--endpoint-url {dev.aws_url} --region us-east-1"


def test_dev_prints_delivery_and_its_subscribers(dev: Dev) -> None:
    sent = dev.send("batch.failed", "--id=wh_again")
    assert sent.exit_code == 0
    assert '200 {"outcome": "published"}' in sent.output
    assert dev.until(r"200 published +batch.failed .*-> (.*)") == "OnBatch, OnFailure"

    assert '200 {"outcome": "duplicate"}' in dev.send("batch.failed", "--id=wh_again").output
    assert '200 {"outcome": "published"}' in dev.send("orchestra.tuned").output


@pytest.mark.parametrize("part", ["signature", "timestamp", "body"])
def test_tampered_delivery_is_rejected_with_reason(dev: Dev, part: str) -> None:
    sent = dev.send("batch.expired", f"--tamper={part}")

    assert sent.exit_code == 1
    assert sent.output.startswith("401 ")
    reason = dev.until(r"401 \w+ +batch.expired +\d+ ms +(.*)")
    assert ("webhook-timestamp" if part == "timestamp" else "no active signing secret") in reason


def test_dev_says_why_no_rule_matches(dev: Dev) -> None:
    dev.send("video.completed")

    nearest = dev.until(r"video.completed .*-> no subscriber \(nearest: (.*)\)")
    assert re.fullmatch(r"On\w+, detail-type is video.completed, the rule wants .*", nearest)

    # An event of another publisher is no event of OpenAI.
    entry = {"EventBusName": "openai-webhooks", "Source": "mine", "DetailType": "order.paid", "Detail": '{"order": 7}'}
    client(dev.aws_url, "events").put_events(Entries=[entry])
    nearest = dev.until(r"order.paid .*-> no subscriber \(nearest: (.*)\)")
    assert re.fullmatch(r"On\w+, source is mine, the rule wants openai.com", nearest)


def test_dev_prints_line_for_other_request(dev: Dev) -> None:
    for method, path in (("GET", "/webhooks/openai"), ("POST", "/webhook")):
        requests.request(method, dev.url.replace("/webhooks/openai", path), timeout=10)

        assert dev.until(r"404 Not Found .*(POST /webhooks/openai)")
        assert f"{method} {path}" in dev.output


def test_event_without_id_has_one_line(dev: Dev) -> None:
    body = b'{"type": "batch.expired", "created_at": 1, "data": {"id": "x"}}'
    headers = samples.headers(
        body, secret=samples.DEVELOPMENT_SECRET, timestamp=int(time.time()), webhook_id="wh_without"
    )
    lines = dev.output.count("batch.expired ")
    requests.post(dev.url, data=body, headers=headers, timeout=10)
    dev.send("video.failed")
    dev.until(r"(video.failed)")

    assert dev.output.count("batch.expired ") == lines + 1


def test_taken_port_is_named(dev: Dev) -> None:
    port = dev.url.split(":")[2].split("/", maxsplit=1)[0]
    result = CliRunner().invoke(app, ["dev", f"--port={port}"])

    assert result.exit_code == 2
    assert port in result.output


# ---- The page ----


class PageOfDev:
    """The page of a running `dev`, as a browser uses it."""

    def __init__(self, dev: Dev) -> None:
        self.root = dev.url.removesuffix("/webhooks/openai")

    def act(self, name: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = requests.post(f"{self.root}/page/actions/{name}", json=arguments, timeout=30).json()
        return answer

    def record(self, is_wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait for a record."""
        with requests.get(f"{self.root}/page/events", stream=True, timeout=30) as stream:
            deadline = time.monotonic() + 30
            for line in stream.iter_lines():  # there is a heartbeat every 10 s
                record: dict[str, Any] = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if "kind" in record and is_wanted(record):
                    return record
                if time.monotonic() > deadline:
                    break
        raise AssertionError("no such record")

    def delivery(self, webhook_id: str, outcome: str) -> dict[str, Any]:
        return self.record(lambda record: (record.get("webhook_id"), record.get("outcome")) == (webhook_id, outcome))


def test_page_shows_delivery_and_its_subscribers(dev: Dev) -> None:
    page = PageOfDev(dev)

    sent = page.act("send", event_type="batch.failed", data={"id": "batch_page"})
    webhook_id = sent["webhook_id"]
    record = page.record(lambda r: r.get("webhook_id") == webhook_id and len(r["subscribers"]) == 2 and "rules" in r)

    assert sent["status"] == 200
    assert json.loads(record["body"])["data"]["id"] == "batch_page"
    assert sorted(subscriber["name"] for subscriber in record["subscribers"]) == ["OnBatch", "OnFailure"]
    assert all(subscriber["ok"] and subscriber["log"] for subscriber in record["subscribers"])
    assert record["bus_event"]["detail-type"] == "batch.failed"
    matching = {target for rule in record["rules"] if rule["matched"] for target in rule["targets"]}
    assert matching & {"OnBatch", "OnFailure", "OnResponseCompleted"} == {"OnBatch", "OnFailure"}
    page.act("run_again", record_id=record["id"], subscriber="OnFailure")
    assert page.record(lambda r: r.get("subscribers", [])[2:] and r["subscribers"][2]["name"] == "OnFailure")


def test_page_sends_again_tampers_and_saves(dev: Dev) -> None:
    page = PageOfDev(dev)
    sent = page.act("send", event_type="eval.run.failed")
    record = page.delivery(sent["webhook_id"], "published")

    assert page.act("send_again", record_id=record["id"]) == sent
    assert page.delivery(sent["webhook_id"], "duplicate")
    new = page.delivery(page.act("send_as_new", record_id=record["id"])["webhook_id"], "published")
    assert json.loads(new["body"]) == json.loads(record["body"]) | {"id": new["event_id"]}
    assert new["event_id"] != record["event_id"]
    tampered = page.act("tamper", record_id=record["id"], part="timestamp")
    assert "webhook-timestamp" in page.delivery(tampered["webhook_id"], "Unverified")["reason"]
    saved = json.loads((dev.folder / page.act("save", record_id=record["id"])["path"]).read_text())
    assert saved["body"] == record["body"]
    assert saved["headers"]["webhook-id"] == sent["webhook_id"]
    assert saved["requestContext"]["routeKey"] == "POST /webhooks/openai"


def test_page_shows_event_of_another_receiver(dev: Dev) -> None:
    event_id = samples.new_id("evt_")
    client(dev.aws_url, "events").put_events(
        Entries=[
            {
                "EventBusName": "openai-webhooks",
                "Source": "openai.com",
                "DetailType": "batch.completed",
                "Detail": json.dumps({"id": event_id, "type": "batch.completed"}),
            }
        ]
    )

    record = PageOfDev(dev).record(lambda r: r.get("event_id") == event_id and r["subscribers"])

    assert record["kind"] == "event"
    assert [subscriber["name"] for subscriber in record["subscribers"]] == ["OnBatch"]


def test_page_refuses_invalid_action(dev: Dev) -> None:
    invalid: list[tuple[str, dict[str, Any]]] = [
        ("send", {"event_type": "no type"}),
        ("send", {"event_type": "batch.failed", "data": [1]}),
        ("send_again", {"record_id": 10**9}),
        ("send_as_new", {"record_id": 10**9}),
        ("run_again", {"record_id": 1, "subscriber": "Nobody"}),
        ("tamper", {"record_id": 1, "part": "everything"}),
        ("save", {"record_id": "1"}),
    ]
    for action, arguments in invalid:
        assert PageOfDev(dev).act(action, **arguments).get("error"), action


def test_page_is_refused_to_other_sites(dev: Dev) -> None:
    root = PageOfDev(dev).root

    assert requests.get(root, headers={"Host": "evil.example"}, timeout=10).status_code == 403
    foreign = requests.post(
        f"{root}/page/actions/send", headers={"Origin": "https://evil.example"}, json={}, timeout=10
    )
    assert foreign.status_code == 403


# ---- Own stacks ----


def test_own_stack_runs_next_to_another(own_stack: Path, tmp_path: Path) -> None:
    code = own_stack.parent / "code/app.py"
    code.write_text("import no_such_module")
    with running_dev(tmp_path, own_stack, SUBSCRIBER, parameter="Reply=a=b c") as dev:

        def reached(event_type: str, resource: str = "batch_1") -> str:
            dev.send(event_type, f"--data=id={resource}")
            return dev.until(rf"{event_type} .*-> (.*)")

        omitted = dev.until(r"not run here: (.*)")
        assert "Node (the runtime nodejs22.x)" in omitted
        assert "Stream (AWS::Kinesis::Stream)" in omitted

        # A function that cannot start does not stop the others.
        reason = "ModuleNotFoundError: No module named 'no_such_module' (app.py:1)"
        assert dev.until(r"Plain does not start: (.*)") == reason
        assert reached("batch.completed").startswith("OnBatch, Plain failed: ModuleNotFoundError")

        # A saved file reloads the function.
        code.write_text("def handler(event, context:")
        assert dev.until(r"(Plain does not start: SyntaxError: .*app.py:1)")
        code.write_text(HANDLER)
        assert dev.until(r"(Plain declares python3.1 and runs with 3\.)")
        assert dev.until(r"Plain imports (\w+) and has no requirements.txt") == "pydantic"
        assert dev.until(r"reloaded (.*)") == "Plain (app.py)"
        absent = ", Node (lambda, not run here)"
        assert reached("batch.failed") == f"OnBatch, OnFailure, Plain{absent}"

        failure = "Plain failed: ValueError: ('a=b c', ':Asia/Tokyo', 'plain-log') (app.py:5)"
        assert reached("batch.expired", "raise") == f"OnBatch, {failure}, again in 1 s{absent}"
        assert dev.until(r"attempt 2 +batch.expired +-> (.*)") == f"{failure}, again in 2 s"
        dropped = "dropped: the function has no queue for failures"
        assert dev.until(r"attempt 3 +batch.expired +-> (.*)") == f"{failure}, {dropped}"
        # A process that ends is replaced.
        assert "ended with 7" in reached("batch.expired", "die")
        assert reached("batch.cancelled") == f"OnBatch, Plain{absent}"


def test_rule_that_eventbridge_refuses_is_refused(own_stack: Path) -> None:
    own_stack.write_text(own_stack.read_text().replace("{ prefix: batch. }", "{ prefx: batch. }"))

    result = CliRunner().invoke(app, ["dev", "--port=0", "--aws-port=0", f"--template={own_stack}"])

    assert result.exit_code == 2
    assert "unrecognized operator prefx" in result.output.replace("\n", " ")
    assert "Plain" in result.output


@pytest.mark.parametrize("parameter", ["Nothing=1", "PlainRole=1", "Reply", "=1"])
def test_wrong_parameter_is_named(own_stack: Path, parameter: str) -> None:
    result = CliRunner().invoke(
        app, ["dev", "--port=0", "--aws-port=0", f"--template={own_stack}", "--parameter", parameter]
    )

    assert result.exit_code == 2
    assert parameter.partition("=")[0] in result.output
    assert "--parameter" in result.output


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(None, "No such file", id="no file"),
        pytest.param("just text", "not a SAM template", id="text"),
        pytest.param("Resources: {X: {Type: 'AWS::Serverless::Function', Properties: {}}}", "X", id="no properties"),
        pytest.param("a: [", "not a SAM template", id="no YAML"),
    ],
)
def test_template_that_cannot_run_is_named(tmp_path: Path, text: str | None, named: str) -> None:
    template = tmp_path / "template.yaml"
    if text is not None:
        template.write_text(text)

    result = CliRunner().invoke(app, ["dev", "--port=0", "--aws-port=0", f"--template={template}"])

    assert result.exit_code == 2
    assert str(template) in result.output.replace("\n", "")
    assert named in result.output


# ---- The end ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_ends_dev_without_leftovers(tmp_path: Path, number: signal.Signals) -> None:
    with running_dev(tmp_path) as dev:
        dev.until("(Press Ctrl-C)")
        functions = children(dev.process.pid)
        # To this process alone, not to its children.
        dev.process.send_signal(number)
        output = dev.end()

        assert dev.process.returncode == (0 if number == signal.SIGINT else 128 + number)
        assert "Traceback" not in output
        assert len(functions) == 4
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in functions), "functions that end", seconds=5)
        assert list(tmp_path.iterdir()) == []


def test_killed_dev_leaves_only_its_folder(tmp_path: Path) -> None:
    with running_dev(tmp_path) as dev:
        dev.until("(Press Ctrl-C)")
        functions = children(dev.process.pid)
        dev.process.kill()
        dev.process.wait(5)

        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in functions), "functions that end", seconds=5)
        [folder] = tmp_path.iterdir()
    with running(tmp_path, "--port=0", "--aws-port=0") as process:
        wait_until(lambda: not folder.exists(), "the next run, which deletes the folder")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)


@pytest.mark.parametrize(("command", "delay"), [("dev", 0.3), ("dev", 0.8), ("dev", 1.5), ("demo", 0.5), ("demo", 2)])
def test_ctrl_c_while_starting_ends_at_once(tmp_path: Path, command: str, delay: float) -> None:
    options = ["--port=0", "--aws-port=0"] if command == "dev" else []
    with running(tmp_path, *options, command=command) as process:
        # Not an event, but any moment of the start.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=3)

        assert "Traceback" not in output
        assert list(tmp_path.iterdir()) == []


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
