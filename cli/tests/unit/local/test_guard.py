"""Who may use the servers of this machine."""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import boto3
import pytest
import requests
from botocore.exceptions import ClientError
from werkzeug import Request, Response

from openai_webhooks_cli.local import wsgi_server
from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.local.sam_template import REGION

STRANGERS: Final[list[dict[str, str]]] = [
    *({"Host": name} for name in ("example.com", "localhost.example.com", "127.0.0.1.nip.io", "localhost:1@x")),
    *({"Origin": site} for site in ("http://example.com", "http://localhost:3000", "null")),
    # A request through a tunnel.
    *({name: "203.0.113.7"} for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host")),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = wsgi_server.start(Request.application(lambda _: Response("secret")))
    yield f"http://127.0.0.1:{server.port}"
    wsgi_server.stop(server)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8787", "[::1]:8787", "bucket.localhost"])
def test_this_machine_is_answered(url: str, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}

    assert requests.post(url, headers=headers, timeout=10).text == "secret"


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
def test_stranger_is_refused(url: str, headers: dict[str, str]) -> None:
    answer = requests.post(url, headers=headers, timeout=10)

    assert answer.status_code == 403
    assert "secret" not in answer.text


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoAws]:
    with closing(MotoAws()) as aws:
        aws.client("secretsmanager").create_secret(Name="mine", SecretString="secret")
        yield aws


def read_secret(aws: MotoAws, headers: dict[str, str], *, key: str = "any") -> str:
    client = boto3.client(
        "secretsmanager", REGION, endpoint_url=aws.url, aws_access_key_id=key, aws_secret_access_key="x"
    )
    client.meta.events.register("before-send", lambda request, **_: request.headers.update(headers))
    with closing(client):
        return str(client.get_secret_value(SecretId="mine")["SecretString"])


@pytest.mark.parametrize("headers", STRANGERS, ids=str)
def test_embedded_aws_refuses_stranger(aws: MotoAws, headers: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="403"):
        read_secret(aws, headers)


def test_container_needs_key_of_run(aws: MotoAws, monkeypatch: pytest.MonkeyPatch) -> None:
    container = {"Host": "host.docker.internal:4510"}
    assert read_secret(aws, {}) == "secret"
    assert read_secret(aws, container, key=aws.access_key) == "secret"
    with pytest.raises(ClientError, match="AWS_ACCESS_KEY_ID"):
        read_secret(aws, container)

    # At the address of Docker's bridge, a container can send any Host.
    monkeypatch.setattr(aws._servers[0], "server_address", ("172.17.0.1", 1))
    assert read_secret(aws, {}, key=aws.access_key) == "secret"
    with pytest.raises(ClientError, match="AWS_ACCESS_KEY_ID"):
        read_secret(aws, {})


@pytest.mark.parametrize("service", ["batch", "ec2", "ecs", "codebuild", "kms"])
def test_other_services_do_not_exist(aws: MotoAws, service: str) -> None:
    scope = f"AWS4-HMAC-SHA256 Credential={aws.access_key}/20260101/{REGION}/{service}/aws4_request, Signature=x"

    answer = requests.post(aws.url, headers={"Authorization": scope}, timeout=10)

    assert (answer.status_code, answer.text) == (403, f"The embedded AWS has no service {service}.\n")


@pytest.mark.parametrize(
    "path", ["/", "/moto-api/config", "/moto-api/reset", "/latest/meta-data/iam", "/secretsmanager_us-east-1/"]
)
def test_unsigned_calls_and_moto_itself_are_refused(aws: MotoAws, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = requests.request(method, f"{aws.url}{path}", timeout=10)

        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
