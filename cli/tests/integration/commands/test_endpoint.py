"""`openai-webhooks endpoint`, with the real SDK, OpenAI's stand-in and moto."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pexpect
import pytest
from moto.core.exceptions import JsonRESTError
from moto.secretsmanager.models import SecretsManagerBackend
from typer.testing import Result
from werkzeug import Request, Response

from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.openai_stand_in import HANG_UP, EndpointsStandIn
from openai_webhooks import CATALOG, Unverified, decode_secret, verify
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.signing_secret import values
from openai_webhooks_cli.local import wsgi_server
from openai_webhooks_cli.openai_platform import sample_delivery

PLACEHOLDER: Final = "Placeholder until the signing secret is stored."
CLI: Final = [sys.executable, "-c", "from openai_webhooks_cli.entry_point import run; run()"]
API_KEY: Final = "sk-canary-7d1f"
QUIET_TYPE: Final = "safety.alert.created"
"""A type that no rule of the example subscriber matches."""


class Function:
    """Answers deliveries as the receiver does, and puts their events on the bus."""

    def __init__(self, receiver: DeployedReceiver) -> None:
        self._receiver = receiver
        self.planted: list[int] = []
        """Status codes of the next answers."""
        self.publishes = True
        self._server = wsgi_server.start(Request.application(self._respond))
        self.url = f"http://{self._server.host}:{self._server.port}/"

    def close(self) -> None:
        wsgi_server.stop(self._server)

    def _respond(self, request: Request) -> Response:
        if self.planted:
            return Response(status=self.planted.pop(0))
        stored = values(self._receiver.secret()) + values(self._receiver.secret("AWSPREVIOUS"))
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            verify(request.get_data(), headers, keys=map(decode_secret, stored), now=int(time.time()))
        except Unverified:
            return Response(status=401)
        event = json.loads(request.get_data())
        if self.publishes:
            self._receiver.publish(event["type"], id=event["id"])
        return Response(status=200)


@pytest.fixture
def function(receiver: DeployedReceiver) -> Iterator[Function]:
    function = Function(receiver)
    yield function
    function.close()


@pytest.fixture
def openai(
    receiver: DeployedReceiver, function: Function, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[EndpointsStandIn]:
    """OpenAI, whose project has no endpoint, while the stack has no secret."""
    monkeypatch.setattr(sample_delivery, "_RETRY_PAUSE", 0.01)
    monkeypatch.chdir(tmp_path)
    for _ in ("AWSPREVIOUS", "AWSCURRENT"):
        store(receiver, PLACEHOLDER)
    with EndpointsStandIn(route=lambda _: function.url, api_key=API_KEY) as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        yield stand_in


@pytest.fixture
def run(receiver: DeployedReceiver, openai: EndpointsStandIn) -> Callable[..., Result]:
    """Run `openai-webhooks endpoint`, and check that it prints no secret."""

    def run(*arguments: str, status: int = 0) -> Result:
        result = receiver.run("endpoint", *arguments)
        assert result.exit_code == status, result.output
        for secret in [API_KEY, *(secret for secrets in openai.secrets.values() for secret in secrets)]:
            assert secret not in result.output
        return result

    return run


@pytest.fixture
def connected(receiver: DeployedReceiver, openai: EndpointsStandIn) -> str:
    """The id of an endpoint at the stack's URL, whose secret is stored."""
    endpoint_id = openai.register(url(receiver))
    store(receiver, openai.secrets[endpoint_id][0])
    return endpoint_id


def url(receiver: DeployedReceiver) -> str:
    return receiver.receiver.outputs["WebhookUrl"]


def store(receiver: DeployedReceiver, text: str) -> None:
    receiver.client("secretsmanager").put_secret_value(SecretId=receiver.secret_arn, SecretString=text)


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def refuse_writes(patch: pytest.MonkeyPatch, *, after: int) -> None:
    """Deny writes of the secret after so many successful ones."""
    put = SecretsManagerBackend.put_secret_value
    count = 0

    def put_or_refuse(*arguments: Any, **options: Any) -> str:
        nonlocal count
        count += 1
        if count > after:
            raise JsonRESTError("AccessDeniedException", "User: dev is not authorized to perform: x:PutSecretValue")
        return put(*arguments, **options)

    patch.setattr(SecretsManagerBackend, "put_secret_value", put_or_refuse)


def age_versions(patch: pytest.MonkeyPatch, *, hours: float) -> None:
    """Let all versions of secrets be that old. moto says that they are new."""
    list_versions = SecretsManagerBackend.list_secret_version_ids

    def list_old(backend: SecretsManagerBackend, secret_id: str) -> str:
        answer = json.loads(list_versions(backend, secret_id))
        for version in answer["Versions"]:
            version["CreatedDate"] = time.time() - hours * 3600
        return json.dumps(answer)

    patch.setattr(SecretsManagerBackend, "list_secret_version_ids", list_old)


# ---- create ----


def test_create_connects_new_stack(run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn) -> None:
    created, answered, arrived = records(run("create", "--json"))

    [registered] = openai.endpoints.values()
    assert created["type"] == "created"
    assert created["id"] == registered["id"]
    assert (registered["url"], registered["name"]) == (url(receiver), "openai-webhooks")
    assert registered["event_types"] == list(CATALOG)
    assert receiver.secret() == openai.secrets[registered["id"]][0]
    assert (answered["status"], arrived["type"]) == (200, "arrived")
    assert not arrived["event_type"].startswith("batch.")
    assert not arrived["event_type"].endswith(".failed")


def test_create_handled_registers_types_that_rules_match(run: Any, openai: EndpointsStandIn) -> None:
    run("create", "--handled", "--no-test")

    [registered] = openai.endpoints.values()
    assert {"batch.expired", "response.failed"} <= set(registered["event_types"])
    assert not {QUIET_TYPE, "response.completed"} & set(registered["event_types"])
    assert "test" not in openai.actions


@pytest.mark.parametrize(
    ("arguments", "offered", "named"),
    [("batch.complete", list(CATALOG), "batch.completed"), ("--handled", [QUIET_TYPE], "endpoint create --all")],
    ids=["unknown type", "no matching rule"],
)
def test_create_without_usable_type_registers_nothing(
    run: Any, openai: EndpointsStandIn, arguments: str, offered: list[str], named: str
) -> None:
    openai.event_types = offered

    assert named in run("create", arguments, status=2).stderr
    assert openai.endpoints == {}


@pytest.mark.parametrize(
    "arguments", [("--all", "--handled"), ("batch.failed", "--all"), ("--keep-secret", "--replace-secret")]
)
def test_create_with_contradicting_options_cannot_run(run: Any, openai: EndpointsStandIn, arguments: list[str]) -> None:
    run("create", *arguments, status=2)

    assert openai.actions == []


def test_create_of_registered_url_suggests_update(run: Any, openai: EndpointsStandIn, connected: str) -> None:
    result = run("create", status=1)

    assert f"openai-webhooks endpoint update --id {connected}" in result.stderr
    assert list(openai.endpoints) == [connected]


@pytest.mark.parametrize("name", ["create --replace-secret", "rotate"])
def test_without_write_access_nothing_is_asked_of_openai(
    run: Any, openai: EndpointsStandIn, connected: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    action = name.split(maxsplit=1)[0]
    if action == "create":
        openai.endpoints.clear()
    refuse_writes(monkeypatch, after=0)

    assert f"openai-webhooks iam endpoint {action}" in run(*name.split(), status=2).stderr
    assert action not in openai.actions


def test_write_check_leaves_stages_as_they_were(run: Any, receiver: DeployedReceiver, connected: str) -> None:
    before = receiver.secret()
    run("rotate", "--no-test")

    assert receiver.secret("AWSPREVIOUS") == before
    stages = receiver.client("secretsmanager").describe_secret(SecretId=receiver.secret_arn)["VersionIdsToStages"]
    assert sorted(stage for names in stages.values() for stage in names) == ["AWSCURRENT", "AWSPREVIOUS"]


@pytest.mark.parametrize("status", [0, 403])
def test_failed_store_deletes_new_endpoint_or_names_it(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    refuse_writes(monkeypatch, after=1)
    if status:
        openai.fail("delete", status)

    result = run("create", status=1)

    assert openai.actions[-2:] == ["create", "delete"]
    assert [f"openai-webhooks endpoint delete --id {left}" in result.stderr for left in openai.endpoints] == (
        [True] if status else []
    )
    assert receiver.secret() == PLACEHOLDER


def test_create_does_not_replace_stored_secret_unasked(run: Any, receiver: DeployedReceiver, openai: Any) -> None:
    store(receiver, secret := samples.new_secret())

    result = run("create", status=2)

    assert {"--keep-secret", "--replace-secret"} <= set(re.findall(r"--[\w-]+", result.stderr))
    assert receiver.secret() == secret
    assert openai.endpoints == {}


def test_create_keeps_or_replaces_stored_secret(run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn) -> None:
    store(receiver, old := samples.new_secret())

    run("create", "--keep-secret", "--no-test")
    [[new]] = openai.secrets.values()
    assert receiver.secret() == f"{old}\n{new}"

    openai.endpoints.clear()
    openai.secrets.clear()
    run("create", "--replace-secret", "--no-test")
    assert [receiver.secret()] == next(iter(openai.secrets.values()))


@pytest.mark.parametrize("action", ["list", "event_types", "create", "test"])
@pytest.mark.parametrize("status", [401, 403, 429, 500, HANG_UP])
def test_create_reports_errors_of_openai(run: Any, openai: EndpointsStandIn, action: str, status: int) -> None:
    openai.fail(action, status, times=3)

    run("create", status=2)


def test_commands_need_api_key(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    for name in ("create", "list", "update --all", "test batch.failed", "rotate", "delete"):
        result = receiver.run("endpoint", *name.split())
        assert (result.exit_code, "OPENAI_API_KEY" in result.stderr) == (2, True), name


# ---- the test delivery ----


def test_test_reports_each_hop(run: Any, connected: str) -> None:
    answered, arrived = records(run("test", "batch.failed", "--json"))

    assert (answered["event_type"], answered["status"]) == ("batch.failed", 200)
    assert (arrived["type"], arrived["event_type"]) == ("arrived", "batch.failed")
    assert 0 < answered["seconds"] <= arrived["seconds"]


@pytest.mark.parametrize("status", [302, 401, 500, 503])
def test_refused_test_fails(
    run: Any, function: Function, openai: EndpointsStandIn, connected: str, status: int
) -> None:
    function.planted = [status]

    result = run("test", "batch.failed", "--json", status=1)

    assert [record["status"] for record in records(result)] == [status]
    assert "openai-webhooks doctor" in result.stderr
    assert openai.actions.count("test") == 1


def test_test_that_does_not_arrive_fails(
    run: Any, function: Function, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_delivery, "ARRIVAL_TIMEOUT", 1)
    function.publishes = False

    result = run("test", "batch.failed", "--json", status=1)

    assert [record["type"] for record in records(result)] == ["answered"]
    assert "openai-webhooks doctor" in result.stderr


def test_test_of_unknown_type_cannot_run(run: Any, openai: EndpointsStandIn, connected: str) -> None:
    run("test", "batch.fail", status=2)

    assert "test" not in openai.actions


def test_refusals_right_after_storing_are_tried_again(run: Any, function: Function, openai: EndpointsStandIn) -> None:
    function.planted = [401, 503]

    result = run("create", "--json")

    assert [record["type"] for record in records(result)] == ["created", "answered", "arrived"]
    assert openai.actions.count("test") == 3


# ---- list, update, delete ----


def test_list_marks_endpoint_of_stack(run: Any, openai: EndpointsStandIn, connected: str) -> None:
    other = openai.register("https://other.example/hook", name="other\x1b[31m", event_types=["batch.failed"])

    assert [(record["id"], record["is_this_stack"]) for record in records(run("list", "--json"))] == [
        (other, False),
        (connected, True),
    ]
    text = run("list").stdout
    assert [line.split()[0] for line in text.splitlines()] == [other, "*"]
    assert "\x1b" not in text


def test_update_changes_types(run: Any, openai: EndpointsStandIn, connected: str) -> None:
    openai.endpoints[connected]["event_types"] = ["batch.failed", "batch.expired"]

    run("update", "--add=batch.completed", "--add=batch.failed", "--remove=batch.expired")

    assert openai.endpoints[connected]["event_types"] == ["batch.failed", "batch.completed"]
    run("update", "--all")
    assert openai.endpoints[connected]["event_types"] == list(CATALOG)
    openai.event_types = ["batch.completed"]
    openai.endpoints[connected]["event_types"] = ["retired.type"]
    run("update", "--url=auto")
    assert openai.endpoints[connected]["event_types"] == ["retired.type"]
    openai.event_types = list(CATALOG)
    run("update", "--handled", "--remove=batch.failed")
    assert not {QUIET_TYPE, "batch.failed"} & set(openai.endpoints[connected]["event_types"])


@pytest.mark.parametrize(
    "arguments",
    [(), ("--add=batch.fail",), ("--remove=batch.completed",), ("--remove=batch.failed",), ("--all", "--handled")],
)
def test_update_that_makes_no_sense_changes_nothing(
    run: Any, openai: EndpointsStandIn, connected: str, arguments: list[str]
) -> None:
    openai.endpoints[connected]["event_types"] = ["batch.failed"]

    run("update", *arguments, status=2)

    assert "update" not in openai.actions


@pytest.mark.parametrize(
    ("old_url", "name"),
    [("https://old.example/webhooks/openai", "any"), ("https://old.example/other", "openai-webhooks")],
)
def test_update_url_auto_moves_endpoint_here(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, old_url: str, name: str
) -> None:
    openai.register("https://other.example/hook", name="other")
    moved = openai.register(old_url, name=name)

    result = run("update", "--url=auto")

    assert openai.endpoints[moved]["url"] == url(receiver)
    assert f"openai-webhooks endpoint rotate --keep-secret --id {moved}" in result.stderr

    store(receiver, openai.secrets[moved][0])
    assert "rotate" not in run("update", "--url=auto").stderr


def test_update_url_auto_asks_for_id_of_several(run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn) -> None:
    first = openai.register("https://first.example/webhooks/openai")
    second = openai.register("https://second.example/webhooks/openai")

    result = run("update", "--url=auto", status=2)

    assert {first, second, "--id"} <= set(re.findall(r"--id|we_\w+", result.stderr))
    run("update", "--url=auto", f"--id={second}")
    assert openai.endpoints[second]["url"] == url(receiver)


@pytest.mark.parametrize("name", ["update --all", "test batch.failed", "rotate", "delete --yes"])
def test_missing_endpoint_is_reported(run: Any, openai: EndpointsStandIn, name: str) -> None:
    openai.register("https://other.example/webhooks/openai")

    assert "openai-webhooks endpoint create" in run(*name.split(), status=2).stderr
    assert "openai-webhooks endpoint list" in run(*name.split(), "--id=we_unknown", status=2).stderr
    assert set(openai.actions) == {"list"}


def test_delete_needs_confirmation(run: Any, openai: EndpointsStandIn, connected: str) -> None:
    result = run("delete", status=2)

    assert "--yes" in result.stderr
    assert list(openai.endpoints) == [connected]
    run("delete", "--yes")
    assert openai.endpoints == {}


@pytest.mark.parametrize(("typed", "status"), [("another.example", 1), (None, 0)])
def test_delete_asks_for_host(
    receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str, typed: str | None, status: int
) -> None:
    host = url(receiver).split("/")[2].lower()
    terminal = pexpect.spawn(
        CLI[0],
        [*CLI[1:], "endpoint", "delete"],
        env={**os.environ, **receiver.environment},
        timeout=60,
        encoding="utf-8",
    )
    terminal.expect(f"{re.escape(host)}.*:")

    terminal.sendline(typed or host)
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert terminal.exitstatus == status
    assert len(openai.endpoints) == status


# ---- rotate ----


def test_rotate_keeps_old_secret_as_previous(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    old = receiver.secret()

    result = run("rotate", "--json")

    assert [record["type"] for record in records(result)] == ["rotated", "answered", "arrived"]
    assert openai.secrets[connected] == [receiver.secret(), old]
    assert receiver.secret("AWSPREVIOUS") == old
    assert openai.deliver(connected, QUIET_TYPE, old) == 200
    assert "openai-webhooks endpoint rotate --finish" in result.stderr


def test_finish_waits_for_24_hours(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = receiver.secret()
    run("rotate", "--no-test")
    age_versions(monkeypatch, hours=23.9)
    assert "--finish --yes" in run("rotate", "--finish", status=2).stderr
    assert receiver.secret("AWSPREVIOUS") == old

    age_versions(monkeypatch, hours=24.1)
    run("rotate", "--finish", "--dry-run")
    assert receiver.secret("AWSPREVIOUS") == old
    assert records(run("rotate", "--finish", "--json")) == [{"type": "finished", "changed": True}]

    assert receiver.secret("AWSPREVIOUS") == receiver.secret() == openai.secrets[connected][0]
    assert openai.deliver(connected, QUIET_TYPE, old) == 401
    assert records(run("rotate", "--finish", "--json")) == [{"type": "finished", "changed": False}]


def test_finish_needs_stored_secret(run: Any, openai: EndpointsStandIn) -> None:
    run("rotate", "--finish", "--yes", status=2)

    assert openai.actions == []


def test_leaked_secret_ends_in_both_stages(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    old = receiver.secret()
    assert "--yes" in run("rotate", "--leaked", status=2).stderr
    assert "rotate" not in openai.actions

    run("rotate", "--leaked", "--yes")

    assert [receiver.secret()] == [receiver.secret("AWSPREVIOUS")] == openai.secrets[connected]
    assert openai.deliver(connected, QUIET_TYPE, old) == 401


def test_leaked_secret_that_stays_accepted_is_a_failure(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch, after=2)

    result = run("rotate", "--leaked", "--yes", status=1)

    assert "openai-webhooks endpoint rotate --finish --yes" in result.stderr
    assert openai.secrets[connected] == [receiver.secret()]


def test_rotate_dry_run_changes_nothing(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    before = openai.secrets[connected], receiver.secret()

    [plan] = records(run("rotate", "--leaked", "--dry-run", "--json"))

    assert plan == {"type": "plan", "endpoint": connected, "keep_old": False, "kept": 0, "store": 2}
    assert (openai.secrets[connected], receiver.secret()) == before
    assert set(openai.actions) == {"list"}


def test_failed_store_saves_secret_in_private_file(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch, after=1)

    result = run("rotate", status=1)

    [path] = Path.cwd().glob("openai-signing-secret-*")
    assert path.read_text() == openai.secrets[connected][0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"--secret-id {receiver.secret_arn} --secret-string file://{path}" in result.stderr


def test_failed_store_without_a_place_for_the_file_says_that_the_secret_is_lost(
    run: Any, connected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuse_writes(monkeypatch, after=1)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    result = run("rotate", status=1)
    monkeypatch.chdir(tmp_path)

    assert "FileNotFound" not in result.stderr
    assert "put-secret-value" not in result.stderr
    assert "openai-webhooks endpoint rotate" in result.stderr


def test_rotate_replaces_only_the_endpoints_secret(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    other, old = samples.new_secret(), receiver.secret()
    store(receiver, f"{old} {other}")

    run("rotate", "--no-test")

    assert receiver.secret() == f"{other}\n{openai.secrets[connected][0]}"


@pytest.mark.parametrize("mask", [lambda _: None, lambda _: "whsec_****", lambda secret: f"…{secret[-1:]}"])
def test_rotate_of_unclear_secret_needs_a_decision(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str, mask: Callable[[str], str | None]
) -> None:
    openai.endpoints[connected]["signing_secret_hint"] = mask(receiver.secret())
    stored = [samples.new_secret(), receiver.secret()]
    store(receiver, " ".join(stored))

    run("rotate", status=2)
    assert "rotate" not in openai.actions

    run("rotate", "--keep-secret", "--no-test")
    assert receiver.secret().split() == [*stored, openai.secrets[connected][0]]
    run("rotate", "--replace-secret", "--no-test")
    assert receiver.secret() == openai.secrets[connected][0]


def test_rotate_does_not_replace_secret_of_another_endpoint(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    store(receiver, samples.new_secret())

    run("rotate", status=2)

    assert "rotate" not in openai.actions


def test_rotate_gets_lost_secret_back(
    run: Any, receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    store(receiver, PLACEHOLDER)

    run("rotate", "--no-test")

    assert receiver.secret() == openai.secrets[connected][0]


@pytest.mark.parametrize("status", [500, HANG_UP])
def test_rotation_without_answer_is_not_retried(
    run: Any, openai: EndpointsStandIn, connected: str, status: int
) -> None:
    openai.fail("rotate", status, times=3)

    assert "openai-webhooks endpoint rotate" in run("rotate", status=2).stderr

    assert openai.actions.count("rotate") == 1


def test_ctrl_c_during_rotation_stores_the_secret(
    receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str
) -> None:
    def interrupt(action: str) -> None:
        if action == "rotate":
            process.send_signal(signal.SIGINT)

    openai.before_action = interrupt
    command = [*CLI, "endpoint", "rotate", "--json"]
    with subprocess.Popen(
        command, env={**os.environ, **receiver.environment}, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert [json.loads(line)["type"] for line in output.splitlines()] == ["rotated"]
    assert receiver.secret() == openai.secrets[connected][0]
    assert "test" not in openai.actions


def test_ctrl_c_during_test_removes_the_tap(
    receiver: DeployedReceiver, function: Function, openai: EndpointsStandIn, connected: str
) -> None:
    def interrupt(action: str) -> None:
        if action == "test":
            process.send_signal(signal.SIGINT)

    openai.before_action = interrupt
    function.publishes = False
    with subprocess.Popen(
        [*CLI, "endpoint", "test", "batch.failed"], env={**os.environ, **receiver.environment}, start_new_session=True
    ) as process:
        assert process.wait(timeout=60) == 130

    assert receiver.leftovers() == []


# ---- secrets ----


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_secrets_are_nowhere(
    receiver: DeployedReceiver, openai: EndpointsStandIn, connected: str, tmp_path: Path
) -> None:
    processes: list[bytes] = []

    def read_process_list(_: str) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # the process has ended
                processes.append(path.read_bytes())

    openai.before_action = read_process_list
    seen = [openai.secrets[connected][0]]
    environment = {**os.environ, **receiver.environment, "OPENAI_LOG": "debug", "HOME": str(tmp_path)}
    said = ""
    for arguments in (
        "list",
        "rotate --json --no-test",
        "rotate --leaked --yes --no-test",
        "delete --yes",
        "create --keep-secret",
    ):
        command = [*CLI, "endpoint", *arguments.split()]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        said += result.stdout + result.stderr
        seen += receiver.secret().split()

    said += "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    said += b" ".join(set(processes)).decode(errors="replace")
    assert "openai_webhooks_cli" in said
    assert len(set(seen)) == 4
    for secret in {*seen, API_KEY}:
        assert secret.removeprefix("whsec_").removeprefix("sk-") not in said
