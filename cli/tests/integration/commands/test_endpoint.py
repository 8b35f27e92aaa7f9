"""`openai-webhooks endpoint`, with the real SDK, OpenAI's stand-in and moto."""

import json
import logging
import os
import re
import signal
import stat
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import typer
from botocore.exceptions import ClientError
from moto.core.exceptions import JsonRESTError
from moto.secretsmanager.models import SecretsManagerBackend
from typer.testing import Result

from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.openai_stand_in import HANG_UP, EndpointsStandIn
from openai_webhooks import CATALOG, Unverified, decode_secret, verify
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.signing_secret import values
from openai_webhooks_cli.commands import endpoint
from openai_webhooks_cli.local.openai_stand_in import OpenAIRequest
from openai_webhooks_cli.openai_platform import sample_delivery

PLACEHOLDER: Final = "Placeholder until the signing secret is stored."
API_KEY: Final = "sk-canary-7d1f"
QUIET_TYPE: Final = "safety.alert.created"
"""A type that no rule of the example subscriber matches."""


class OpenAI(EndpointsStandIn):
    """OpenAI, which delivers to a receiver in this process: it verifies deliveries and publishes their events."""

    def __init__(self, receiver: DeployedReceiver) -> None:
        self.answers: list[int] = []
        """Status codes of the receiver's next answers. Their events are not published."""
        self.all_secrets: list[str] = []
        self._receiver = receiver
        super().__init__(api_key=API_KEY)

    def rotate(self, endpoint_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer = super().rotate(endpoint_id, fields)
        self.all_secrets.append(answer["signing_secret"])
        return answer

    def _post(self, _: str, body: str, headers: dict[str, str]) -> int:
        if self.answers:
            return self.answers.pop(0)
        stored = values(self._receiver.secret()) + values(self._receiver.secret("AWSPREVIOUS"))
        try:
            verify(body.encode(), headers, keys=map(decode_secret, stored), now=int(time.time()))
        except Unverified:
            return 401
        event = json.loads(body)
        self._receiver.publish(event["type"], id=event["id"])
        return 200


@pytest.fixture
def openai(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OpenAI]:
    """OpenAI, whose project has no endpoint, while the stack has no secret. The working folder is empty."""
    monkeypatch.setattr(sample_delivery, "_RETRY_PAUSE", 0.01)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for _ in ("AWSPREVIOUS", "AWSCURRENT"):
        store(receiver, PLACEHOLDER)
    with OpenAI(receiver) as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        yield stand_in


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command lines of the processes that this process starts. Every user of the machine can read them."""
    commands: list[str] = []
    start = subprocess.Popen.__init__

    def start_and_record(process: Any, command: Any, *arguments: Any, **options: Any) -> None:
        commands.append(str(command))
        start(process, command, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", start_and_record)
    return commands


@pytest.fixture
def run(
    receiver: DeployedReceiver, openai: OpenAI, started: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Callable[..., Result]:
    """Run `openai-webhooks endpoint`, and check that no secret gets out.

    It looks into the output, the log of OpenAI's SDK at the level DEBUG, the exception with its causes, the command
    lines of processes, and files. Only the file with the only copy of a secret may contain one.
    """

    def run(*arguments: str, status: int = 0, typed: str | None = None) -> Result:
        for logger in ("openai", "httpx", "httpcore"):
            caplog.set_level(logging.DEBUG, logger=logger)
        result = receiver.run("endpoint", *arguments, input=typed)
        assert result.exit_code == status, result.output
        paths = [path for path in tmp_path.rglob("*") if path.is_file() and "signing-secret" not in path.name]
        exception = traceback.format_exception(result.exception) if result.exception else []
        said = "\n".join([result.output, caplog.text, *exception, *started, *(path.read_text() for path in paths)])
        for secret in [API_KEY, *openai.all_secrets]:
            assert secret.removeprefix("whsec_").removeprefix("sk-") not in said
        return result

    return run


@pytest.fixture
def connected(receiver: DeployedReceiver, openai: OpenAI) -> str:
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


def interrupt_at(openai: OpenAI, action: str) -> None:
    """Press Ctrl-C when the command asks OpenAI for an action."""

    def interrupt(request: OpenAIRequest) -> None:
        if request.action == action:
            os.kill(os.getpid(), signal.SIGINT)

    openai.on_request = interrupt


# ---- create ----


def test_create_connects_new_stack(run: Any, receiver: DeployedReceiver, openai: OpenAI) -> None:
    openai.answers = [401, 503]  # until the receiver reads the secret again

    created, answered, arrived = records(run("create", "--all", "--json"))

    [registered] = openai.endpoints.values()
    assert (created["type"], created["id"]) == ("created", registered["id"])
    assert (registered["url"], registered["name"]) == (url(receiver), "openai-webhooks")
    assert registered["event_types"] == list(CATALOG)
    assert receiver.secret() == openai.secrets[registered["id"]][0]
    assert (answered["status"], arrived["type"]) == (200, "arrived")
    assert not arrived["event_type"].startswith("batch.")
    assert not arrived["event_type"].endswith(".failed")
    assert openai.actions.count("test") == 3


def test_create_handled_registers_types_that_rules_match(run: Any, openai: OpenAI) -> None:
    run("create", "--no-test")

    [registered] = openai.endpoints.values()
    assert {"batch.expired", "response.failed"} <= set(registered["event_types"])
    assert not {QUIET_TYPE, "response.completed"} & set(registered["event_types"])
    assert "test" not in openai.actions


def test_create_that_makes_no_sense_registers_nothing(run: Any, openai: OpenAI, connected: str) -> None:
    assert f"openai-webhooks endpoint update --id {connected}" in run("create", status=1).stderr
    openai.endpoints.clear()
    assert "batch.completed" in run("create", "batch.complete", "--replace-secret", status=2).stderr
    for options in ("--all --handled", "batch.failed --all", "--keep-secret --replace-secret"):
        run("create", *options.split(), status=2)
    openai.event_types = [QUIET_TYPE]
    assert "endpoint create --all" in run("create", "--handled", "--replace-secret", status=2).stderr

    assert "create" not in openai.actions


def test_create_asks_what_to_do_with_stored_secret(run: Any, receiver: DeployedReceiver, openai: OpenAI) -> None:
    store(receiver, old := samples.new_secret())

    result = run("create", status=2)
    assert {"--keep-secret", "--replace-secret"} <= set(re.findall(r"--[\w-]+", result.stderr))
    assert openai.endpoints == {}

    run("create", "--keep-secret", "--no-test")
    assert receiver.secret() == f"{old}\n{openai.all_secrets[0]}"

    openai.endpoints.clear()
    run("create", "--replace-secret", "--no-test")
    assert receiver.secret() == openai.all_secrets[1]


@pytest.mark.parametrize("status", [0, 403])
def test_create_without_stored_secret_deletes_endpoint_or_names_it(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    refuse_writes(monkeypatch, after=1)
    if status:
        openai.fail("delete", status)

    result = run("create", status=1)

    assert openai.actions[-2:] == ["create", "delete"]
    assert len(openai.endpoints) == bool(status)
    assert all(f"openai-webhooks endpoint delete --id {left}" in result.stderr for left in openai.endpoints)
    assert receiver.secret() == PLACEHOLDER


def test_create_cannot_run_if_openai_refuses(run: Any, openai: OpenAI) -> None:
    for action, status in {"list": 401, "event_types": 403, "create": 500, "test": HANG_UP}.items():
        openai.fail(action, status)
        run("create", status=2)
        assert openai.actions[-1] == action


def test_commands_need_api_key(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    for name in ("create", "list", "update --all", "test batch.failed", "rotate", "delete"):
        result = receiver.run("endpoint", *name.split())
        assert (result.exit_code, "OPENAI_API_KEY" in result.stderr) == (2, True), name


# ---- test ----


def test_test_reports_each_hop(run: Any, openai: OpenAI, connected: str) -> None:
    run("test", "batch.fail", status=2)
    assert "test" not in openai.actions

    answered, arrived = records(run("test", "batch.failed", "--json"))

    assert (answered["event_type"], answered["status"]) == ("batch.failed", 200)
    assert (arrived["type"], arrived["event_type"]) == ("arrived", "batch.failed")
    assert 0 < answered["seconds"] <= arrived["seconds"]


@pytest.mark.parametrize("status", [302, 503, 200], ids=["redirected", "refused", "lost"])
def test_test_that_does_not_arrive_fails(
    run: Any, openai: OpenAI, connected: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(sample_delivery, "ARRIVAL_TIMEOUT", 0.1)
    openai.answers = [status]

    result = run("test", "batch.failed", "--json", status=1)

    assert [(record["type"], record["status"]) for record in records(result)] == [("answered", status)]
    assert "openai-webhooks doctor" in result.stderr
    assert openai.actions.count("test") == 1


def test_ctrl_c_during_test_removes_the_tap(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str
) -> None:
    openai.answers = [200]
    interrupt_at(openai, "test")

    run("test", "batch.failed", status=130)

    assert receiver.leftovers() == []


# ---- list, update, delete ----


def test_list_marks_endpoint_of_stack(run: Any, openai: OpenAI, connected: str) -> None:
    other = openai.register("https://other.example/hook", name="other\x1b[31m", event_types=["batch.failed"])

    assert [(record["id"], record["is_this_stack"]) for record in records(run("list", "--json"))] == [
        (other, False),
        (connected, True),
    ]
    text = run("list").stdout
    assert [line.split()[0] for line in text.splitlines()] == [other, "*"]
    assert "\x1b" not in text


def test_update_changes_types(run: Any, openai: OpenAI, connected: str) -> None:
    openai.endpoints[connected]["event_types"] = ["batch.failed", "batch.expired"]

    run("update", "--add=batch.completed", "--add=batch.failed", "--remove=batch.expired")
    assert openai.endpoints[connected]["event_types"] == ["batch.failed", "batch.completed"]

    run("update", "--all")
    assert openai.endpoints[connected]["event_types"] == list(CATALOG)

    run("update", "--handled", "--remove=batch.failed")
    assert not {QUIET_TYPE, "batch.failed"} & set(openai.endpoints[connected]["event_types"])


def test_update_that_makes_no_sense_changes_nothing(run: Any, openai: OpenAI, connected: str) -> None:
    openai.endpoints[connected]["event_types"] = ["batch.failed"]

    for option in ("", "--add=batch.fail", "--remove=batch.completed", "--remove=batch.failed", "--all --handled"):
        run("update", *option.split(), status=2)

    assert "update" not in openai.actions


def test_update_url_auto_moves_endpoint_here(run: Any, receiver: DeployedReceiver, openai: OpenAI) -> None:
    openai.register("https://other.example/webhooks/openai", name="other")
    moved = openai.register("https://old.example/other", name="openai-webhooks")
    openai.endpoints[moved]["event_types"] = ["retired.type"]
    assert "https://old.example/other" in run("update", "--url=auto", status=2).stderr

    result = run("update", "--url=auto", "--yes")

    assert openai.endpoints[moved]["url"] == url(receiver)
    assert f"openai-webhooks endpoint rotate --keep-secret --id {moved}" in result.stderr

    store(receiver, openai.secrets[moved][0])
    assert "rotate" not in run("update", "--url=auto").stderr


def test_update_url_auto_asks_for_id_of_several(run: Any, receiver: DeployedReceiver, openai: OpenAI) -> None:
    first = openai.register("https://first.example/webhooks/openai", name="openai-webhooks")
    second = openai.register("https://second.example/webhooks/openai", name="openai-webhooks")

    result = run("update", "--url=auto", status=2)
    assert {first, second, "--id"} <= set(re.findall(r"--id|we_\w+", result.stderr))

    run("update", "--url=auto", f"--id={second}", "--yes")
    assert openai.endpoints[second]["url"] == url(receiver)


def test_endpoint_of_another_stack_is_named_and_left_alone(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {"https://b.example/webhooks/openai": "openai-webhooks-b"}
    foreign = openai.register(*urls, name="openai-webhooks")
    monkeypatch.setattr(endpoint, "receivers", lambda _: urls)

    assert "stack openai-webhooks-b" in run("list").stdout
    assert "openai-webhooks endpoint create" in run("update", "--url=auto", "--yes", status=2).stderr
    for command in ("rotate", "delete --yes"):
        assert "--stack openai-webhooks-b" in run(*command.split(), f"--id={foreign}", status=2).stderr
    assert set(openai.actions) == {"list"}

    run("delete", "--yes", "--force", f"--id={foreign}")
    assert "delete" in openai.actions


def test_missing_endpoint_is_reported(run: Any, openai: OpenAI) -> None:
    openai.register("https://other.example/webhooks/openai")

    for name in ("update --all", "test batch.failed", "rotate", "delete --yes"):
        assert "openai-webhooks endpoint create" in run(*name.split(), status=2).stderr
    assert "openai-webhooks endpoint list" in run("delete", "--yes", "--id=we_unknown", status=2).stderr
    assert set(openai.actions) == {"list"}


def test_delete_needs_confirmation(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--yes" in run("delete", status=2).stderr
    monkeypatch.setattr(endpoint, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    host = url(receiver).split("/")[2].lower()
    assert host in run("delete", typed="another.example\n", status=1).stderr
    assert list(openai.endpoints) == [connected]

    run("delete", typed=f"{host.upper()} \n")
    assert openai.endpoints == {}

    openai.register(url(receiver))
    run("delete", "--yes")
    assert openai.endpoints == {}


# ---- rotate ----


def test_rotate_keeps_old_secret_as_previous(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str
) -> None:
    old = receiver.secret()

    result = run("rotate", "--json")

    assert [record["type"] for record in records(result)] == ["rotated", "answered", "arrived"]
    assert openai.secrets[connected] == [receiver.secret(), old]
    assert receiver.secret("AWSPREVIOUS") == old
    assert openai.deliver(connected, QUIET_TYPE, old) == 200
    assert "openai-webhooks endpoint rotate --finish" in result.stderr
    # The check of write access leaves no stage.
    stages = receiver.client("secretsmanager").describe_secret(SecretId=receiver.secret_arn)["VersionIdsToStages"]
    assert sorted(stage for names in stages.values() for stage in names) == ["AWSCURRENT", "AWSPREVIOUS"]


def test_finish_waits_for_24_hours(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = receiver.secret()
    run("rotate", "--no-test")
    age_versions(monkeypatch, hours=23.9)
    assert "--finish --yes" in run("rotate", "--finish", status=2).stderr
    age_versions(monkeypatch, hours=24.1)
    run("rotate", "--finish", "--dry-run")
    assert receiver.secret("AWSPREVIOUS") == old

    assert records(run("rotate", "--finish", "--json")) == [{"type": "finished", "changed": True}]

    assert receiver.secret("AWSPREVIOUS") == receiver.secret() == openai.secrets[connected][0]
    assert openai.deliver(connected, QUIET_TYPE, old) == 401
    assert records(run("rotate", "--finish", "--json")) == [{"type": "finished", "changed": False}]


def test_finish_needs_stored_secret(run: Any, openai: OpenAI) -> None:
    run("rotate", "--finish", "--yes", status=2)

    assert openai.actions == []


def test_leaked_secret_ends_in_both_stages(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str
) -> None:
    before = receiver.secret()
    assert "--yes" in run("rotate", "--leaked", status=2).stderr
    run("rotate", "--leaked", "--keep-secret", "--yes", status=2)
    [plan] = records(run("rotate", "--leaked", "--dry-run", "--json"))
    assert plan == {"type": "plan", "endpoint": connected, "keep_old": False, "kept": 0, "store": 2}
    assert (openai.secrets[connected], receiver.secret()) == ([before], before)

    run("rotate", "--leaked", "--yes")

    assert [receiver.secret()] == [receiver.secret("AWSPREVIOUS")] == openai.secrets[connected]
    assert openai.deliver(connected, QUIET_TYPE, before) == 401


def test_leaked_secret_that_stays_accepted_is_a_failure(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch, after=2)

    result = run("rotate", "--leaked", "--yes", status=1)

    assert "openai-webhooks endpoint rotate --finish --yes" in result.stderr
    assert openai.secrets[connected] == [receiver.secret()]


def test_without_write_access_openai_makes_no_secret(
    run: Any, openai: OpenAI, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch, after=0)

    assert "openai-webhooks iam endpoint rotate" in run("rotate", status=2).stderr
    openai.endpoints.clear()
    assert "openai-webhooks iam endpoint create" in run("create", "--replace-secret", status=2).stderr

    assert not {"rotate", "create"} & set(openai.actions)


def test_failed_store_saves_secret_in_private_file(
    run: Any,
    receiver: DeployedReceiver,
    openai: OpenAI,
    connected: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    refuse_writes(monkeypatch, after=1)
    monkeypatch.setattr(typer, "get_app_dir", lambda _: tmp_path / "settings")

    result = run("rotate", status=1)

    [path] = (tmp_path / "settings").glob("signing-secret-*")
    assert path.read_text() == openai.secrets[connected][0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"--secret-id {receiver.secret_arn} --secret-string file://{path}" in result.stderr


def test_failed_store_without_a_place_for_the_file_says_that_the_secret_is_lost(
    run: Any, connected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuse_writes(monkeypatch, after=1)
    (tmp_path / "file").touch()
    monkeypatch.setattr(typer, "get_app_dir", lambda _: tmp_path / "file" / "settings")

    result = run("rotate", status=1)

    assert "put-secret-value" not in result.stderr
    assert "openai-webhooks endpoint rotate" in result.stderr


def test_rotate_replaces_only_the_endpoints_secret(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str
) -> None:
    other = samples.new_secret()
    store(receiver, f"{receiver.secret()} {other}")

    run("rotate", "--no-test")
    assert receiver.secret() == f"{other}\n{openai.secrets[connected][0]}"

    # The new secret has the name of the old one.
    store(receiver, f"other={other} project-a={openai.secrets[connected][0]}")
    run("rotate", "--no-test")
    assert receiver.secret() == f"other={other}\nproject-a={openai.secrets[connected][0]}"

    # None fits OpenAI's hint, as after a rotation whose secret was lost.
    store(receiver, other)
    run("rotate", "--no-test")
    assert receiver.secret() == f"{other}\n{openai.secrets[connected][0]}"

    assert "1 other stored secret stays accepted" in run("rotate", "--leaked", "--yes", "--no-test").stderr

    # A secret that is lost is no secret of another endpoint.
    store(receiver, PLACEHOLDER)
    run("rotate", "--no-test")
    assert receiver.secret() == openai.secrets[connected][0]


def test_rotate_of_unclear_secret_needs_a_decision(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str
) -> None:
    openai.endpoints[connected]["signing_secret_hint"] = None
    stored = [samples.new_secret(), receiver.secret()]
    store(receiver, " ".join(stored))

    run("rotate", status=2)
    assert "rotate" not in openai.actions

    run("rotate", "--keep-secret", "--no-test")
    assert receiver.secret().split() == [*stored, openai.secrets[connected][0]]

    run("rotate", "--replace-secret", "--no-test")
    assert receiver.secret() == openai.secrets[connected][0]


def test_test_that_is_not_allowed_does_not_hide_the_rotation(
    run: Any, openai: OpenAI, connected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListRules")

    monkeypatch.setattr(sample_delivery, "choose_type", deny)

    assert "ListRules was denied" in run("rotate").stderr


def test_rotation_without_answer_is_not_retried(run: Any, openai: OpenAI, connected: str) -> None:
    openai.fail("rotate", HANG_UP, times=3)

    assert "openai-webhooks endpoint rotate" in run("rotate", status=2).stderr

    assert openai.actions.count("rotate") == 1


def test_ctrl_c_during_rotation_stores_the_secret(
    run: Any, receiver: DeployedReceiver, openai: OpenAI, connected: str
) -> None:
    interrupt_at(openai, "rotate")

    assert [record["type"] for record in records(run("rotate", "--json", status=130))] == ["rotated"]

    assert receiver.secret() == openai.secrets[connected][0]
    assert "test" not in openai.actions
