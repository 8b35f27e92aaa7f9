"""`openai-webhooks listen` as a process of its own: signals, keys, pipes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.local_server import local_server
from openai_webhooks_cli.aws import tap
from openai_webhooks_cli.commands import listen
from openai_webhooks_cli.shell.stop import Stop
from tests.support.background import wait_until
from tests.support.faulty_proxy import FaultyProxy

COMMAND = str(Path(sys.executable).with_name("openai-webhooks"))


@contextmanager
def listening(receiver: DeployedReceiver, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `listen --json` until the end of the `with` statement. It is ready."""
    with subprocess.Popen(
        [COMMAND, "listen", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | receiver.environment,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout
            assert json.loads(process.stdout.readline())["type"] == "ready"
            yield process
        finally:
            process.kill()


@contextmanager
def terminal(receiver: DeployedReceiver, *arguments: str, ready: str = "quit") -> Iterator["pexpect.spawn[str]"]:
    """Run `listen` on a terminal until the end of the `with` statement. It is ready."""
    environment = os.environ | receiver.environment | {"TERM": "xterm"}
    child = pexpect.spawn(
        COMMAND, ["listen", *arguments], env=environment, encoding="utf-8", timeout=20, dimensions=(40, 200)
    )
    try:
        child.expect(ready)
        yield child
    finally:
        child.close(force=True)


# ---- The end of a session ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_removes_rule_and_queue(receiver: DeployedReceiver, number: signal.Signals) -> None:
    with listening(receiver) as process:
        assert receiver.leftovers()
        process.send_signal(number)
        output, messages = process.communicate(timeout=10)

    assert process.returncode == 128 + number
    assert json.loads(output) == {"type": "closed", "removed": True}
    assert "Traceback" not in messages
    assert receiver.leftovers() == []


def test_signal_does_not_wait_for_local_server(receiver: DeployedReceiver) -> None:
    with local_server() as server:
        server.hangs = True
        with listening(receiver, f"--forward-to={server.url}") as process:
            receiver.publish()
            wait_until(lambda: server.requests, "a forward")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=5)

    assert process.returncode == 128 + signal.SIGTERM


def test_signal_while_opening_removes_rule_and_queue(receiver: DeployedReceiver) -> None:
    with subprocess.Popen(
        [COMMAND, "listen"], env=os.environ | receiver.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(receiver.leftovers, "a queue")
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=10)

    assert process.returncode == 130
    assert "Traceback" not in messages


def test_signal_right_before_first_event_is_taken(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_announce", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))

    assert receiver.run("listen").exit_code == 130


def test_killed_session_ends_with_its_lease(receiver: DeployedReceiver) -> None:
    with listening(receiver) as process:
        process.kill()
        process.wait(10)
    [leftover] = tap.find_leftovers(receiver.stack)
    receiver.publish(created_at=int(leftover.expires_at) + 1)
    later = receiver.stack
    later.clock_skew += tap.LEASE + 60

    assert "Messages" not in receiver.client("sqs").receive_message(QueueUrl=leftover.queue_url)
    assert tap.sweep(receiver.stack) == []
    assert tap.sweep(later) == [leftover.name]


def test_closed_pipe_ends_session(receiver: DeployedReceiver) -> None:
    with listening(receiver) as process:
        assert process.stdout
        process.stdout.close()
        receiver.publish()
        assert process.stderr
        messages = process.stderr.read()
        process.wait(10)

    assert "Traceback" not in messages
    assert "BrokenPipe" not in messages


def test_event_before_probe_is_kept_in_queue_of_rule(receiver: DeployedReceiver) -> None:
    early = tap.Tap(receiver.stack, [{"source": ["openai.com"]}])
    early.create()
    event = receiver.publish()

    early.prove(Stop(print))
    [message] = early.receive(wait=0)
    url = receiver.client("sqs").get_queue_url(QueueName=early.name)["QueueUrl"]
    attributes = receiver.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]

    assert message.event["detail"] == event
    assert json.loads(attributes["Policy"])["Statement"]["Condition"] == {
        "ArnEquals": {"aws:SourceArn": early.rule_arn}
    }
    early.close()


# ---- The terminal ----


def test_keys_show_details_send_again_and_quit(receiver: DeployedReceiver) -> None:
    with local_server() as server, terminal(receiver, f"--forward-to={server.url}") as child:
        event = receiver.publish(id="evt_keys")
        child.expect("evt_keys")
        child.expect("200")
        child.send("d")
        child.expect('"type": "batch.completed"')
        child.send("r")
        child.expect("sent again")
        child.send("q")
        child.expect(pexpect.EOF)
        child.wait()

        assert child.exitstatus == 0
        assert [json.loads(request.body) for request in server.requests] == [event, event]


def test_ctrl_c_on_terminal_ends_session(receiver: DeployedReceiver) -> None:
    with terminal(receiver) as child:
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()

        assert child.exitstatus == 130
        assert "Traceback" not in str(child.before)


def test_terminal_echoes_again_after_session(receiver: DeployedReceiver) -> None:
    child = pexpect.spawn(
        "sh", ["-c", f"{COMMAND} listen --for 1s; stty -a"], env=os.environ | receiver.environment, encoding="utf-8"
    )
    child.expect("quit")
    child.expect(" echo ")
    child.expect(pexpect.EOF)


def test_second_ctrl_c_prints_commands(receiver: DeployedReceiver) -> None:
    proxy = FaultyProxy(receiver.aws.url)
    with terminal(receiver, f"--endpoint-url={proxy.url}") as child:
        [name] = set(receiver.leftovers())
        proxy.fail("hangs")
        child.sendintr()
        time.sleep(0.5)  # two signals at once would be one
        child.sendintr()
        child.expect(f"aws events delete-rule --name {name}")
        child.expect(pexpect.EOF)
        child.wait()
        proxy.close()

        assert child.exitstatus == 130
    assert receiver.run("listen", "--clean", "--yes").exit_code == 0
