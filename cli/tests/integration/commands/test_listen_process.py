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
from cli.tests.support.local_server import LocalServer
from openai_webhooks_cli.commands import listen
from tests.support.background import wait_until
from tests.support.faulty_proxy import FaultyProxy

COMMAND = str(Path(sys.executable).with_name("openai-webhooks"))


@contextmanager
def listening(receiver: DeployedReceiver, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `listen --json` until the end of the `with` statement."""
    with subprocess.Popen(
        [COMMAND, "listen", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | receiver.environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def terminal(receiver: DeployedReceiver, command: str) -> Iterator["pexpect.spawn[str]"]:
    """Run a command line with `listen` on a terminal until the end of the `with` statement. It is ready."""
    environment = os.environ | receiver.environment | {"TERM": "xterm"}
    child = pexpect.spawn("sh", ["-c", command], env=environment, encoding="utf-8", timeout=20, dimensions=(40, 200))
    try:
        child.expect("quit")
        yield child
    finally:
        child.close(force=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_removes_rule_and_queue_while_server_hangs(
    receiver: DeployedReceiver, server: LocalServer, number: signal.Signals
) -> None:
    server.hangs = True
    with listening(receiver, f"--forward-to={server.url}") as process:
        assert process.stdout
        ready = process.stdout.readline()
        receiver.publish()
        wait_until(lambda: server.requests, "a forward")
        process.send_signal(number)
        output, messages = process.communicate(timeout=10)

    assert process.returncode == 128 + number
    assert [json.loads(line)["type"] for line in [ready, *output.splitlines()]] == ["ready", "closed"]
    assert json.loads(output)["removed"]
    assert "Traceback" not in messages
    assert receiver.leftovers() == []


def test_signal_while_opening_removes_rule_and_queue(receiver: DeployedReceiver) -> None:
    with listening(receiver) as process:
        wait_until(receiver.leftovers, "a queue")
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=10)

    assert process.returncode == 130
    assert "Traceback" not in messages


def test_signal_right_before_first_event_is_taken(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "_announce", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))

    assert receiver.run("listen").exit_code == 130


def test_closed_pipe_ends_session(receiver: DeployedReceiver) -> None:
    with listening(receiver) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        receiver.publish()
        messages = process.stderr.read()
        process.wait(10)

    assert "Traceback" not in messages
    assert "BrokenPipe" not in messages


def test_keys_show_details_send_again_and_quit(receiver: DeployedReceiver, server: LocalServer) -> None:
    command = f"{COMMAND} listen --forward-to {server.url}; echo status $?; stty -a"
    with terminal(receiver, command) as child:
        event = receiver.publish(id="evt_keys")
        child.expect("evt_keys")
        child.expect("200")
        child.send("d")
        child.expect('"type": "batch.completed"')
        child.send("r")
        child.expect("sent again")
        child.send("q")
        child.expect("status 0")
        child.expect(" echo ")  # not `-echo`
        child.expect(pexpect.EOF)

    assert [json.loads(request.body) for request in server.requests] == [event, event]


def test_second_ctrl_c_prints_commands(receiver: DeployedReceiver) -> None:
    proxy = FaultyProxy(receiver.aws.url)
    with terminal(receiver, f"exec {COMMAND} listen --endpoint-url={proxy.url}") as child:
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
