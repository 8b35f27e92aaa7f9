"""The testbed of the contenders: a fast AWS on the loopback address, and the environment of their processes."""

import asyncio
import compileall
import json
import logging
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trustme
from botocore.httpsession import DEFAULT_CA_BUNDLE

from evidence.chaos import services
from openai_webhooks_cli import apigw_event, samples
from tests.support import asyncio_http as http, lambda_runtime as runtime

PYTHON = f"{sys.base_prefix}/bin/python3.13"
FORGED = "v1," + "A" * 43 + "="


class Contender(NamedTuple):
    name: str
    path: Path
    handler: str
    deduplicates: bool = True


class Testbed:
    """AWS and the environment of the contenders. `calls` counts the calls to AWS."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.aws = services.declared_by(variables, secret=samples.DEVELOPMENT_SECRET, middleware=_caching)
        self.calls = 0

    def handle(self, request: http.Request, connection: http.Connection) -> None:
        self.calls += 1
        self.aws.handle(request, connection)

    def environment(self, contender: Contender, **more: str) -> dict[str, str]:
        """Return the environment of a contender: the receiver's, and what the contender's own code reads."""
        variables = {**self._variables, **more, "_HANDLER": contender.handler}
        variables["SIGNING_SECRET"] = samples.DEVELOPMENT_SECRET
        if not contender.deduplicates:
            del variables["DELIVERIES_TABLE_NAME"]
        return variables


class Endpoints(NamedTuple):
    """Environment variables for calls to AWS, without and with TLS."""

    plain: Mapping[str, str]
    tls: Mapping[str, str]
    hang_up: Callable[[], None]
    """Closes all TLS connections."""


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Testbed, Endpoints]]:
    """Run a testbed. Its files are in `folder`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It would print each request.
    client = runtime.client(folder / "client")
    for package in client.iterdir():  # Lambda's own runtime has bytecode. compileall does not follow links.
        compileall.compile_dir(package.resolve(), quiet=2)
    function = runtime.declared()
    testbed = Testbed(runtime.environment(function, endpoint="", packages=client))
    tls, bundle = _certificate(folder)
    # botocore imports this module if no bundle is set. As in Lambda, there is only one bundle.
    (client / "certifi.py").write_text(f"def where(): return {str(bundle)!r}\n")
    async with await http.listen(testbed.handle) as plain, await http.listen(testbed.handle, tls=tls) as secure:
        yield (
            testbed,
            Endpoints(
                {"AWS_ENDPOINT_URL": f"http://{http.LOOPBACK}:{http.port(plain)}"},
                {
                    "AWS_ENDPOINT_URL": f"https://{http.LOOPBACK}:{http.port(secure)}",
                    "AWS_CA_BUNDLE": str(bundle),
                },
                secure.abort_clients,
            ),
        )
        plain.abort_clients()
        secure.abort_clients()


def _caching(call: services.Call, serve: services.Serve) -> services.Answer:
    """Answer the calls that only AWS's caching client makes."""
    if call.operation == "DescribeSecret":
        return services.Answer(200, {"VersionIdsToStages": {"0" * 32: ["AWSCURRENT"]}})
    if "VersionId" in call.parameters:
        call = call._replace(parameters={"SecretId": call.parameters["SecretId"]})
    return serve(call)


def _certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context for the loopback address, and the bundle that its clients read."""
    authority, bundle = trustme.CA(), folder / "bundle.pem"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(http.LOOPBACK).configure_cert(context)
    # The bundle contains botocore's own bundle, because reading it takes time.
    bundle.write_bytes(Path(DEFAULT_CA_BUNDLE).read_bytes() + authority.cert_pem.bytes())
    return context, bundle


def delivery(
    kind: str = "accepted",
    *,
    webhook_id: str | None = None,
    padding: int = 0,
    signatures: int = 1,
    secret: str = samples.DEVELOPMENT_SECRET,
) -> bytes:
    """Return API Gateway's event for a delivery of a kind. The right signature is the last of `signatures`."""
    now = int(time.time())
    event = samples.sample("response.completed", created_at=now)
    if padding:
        event["data"]["padding"] = "x" * padding
    body = samples.encode(event)
    headers = samples.headers(
        body,
        secret=secret,
        timestamp=now - 1000 if kind == "stale" else now,
        webhook_id=webhook_id or samples.new_id("wh_"),
    )
    last = FORGED if kind == "forged" else headers["webhook-signature"]
    headers["webhook-signature"] = " ".join([FORGED] * (signatures - 1) + [last])
    return json.dumps(apigw_event.request_event("POST", apigw_event.PATH, headers, body, now=now)).encode()


async def run(contender: Contender, environment: Mapping[str, str], *command: str) -> tuple[str, str]:
    """Run a command instead of a contender's process. Return its output and its log."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=contender.path,
        env={**environment, "PYTHONPATH": f"{contender.path}:{environment['PYTHONPATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, log = (stream.decode() for stream in await process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{contender.name}: {log[-2000:]}")
    return output, log


async def rate(endpoints: Endpoints, seconds: float = 0.5) -> float:
    """Return the number of calls per second that this AWS answers over one connection."""
    host, _, port = endpoints.plain["AWS_ENDPOINT_URL"].removeprefix("http://").partition(":")
    body = b'{"Entries":[]}'
    call = (
        b"POST / HTTP/1.1\r\nhost: loopback\r\nauthorization: Credential=x/\r\nx-amz-target: AWSEvents.PutEvents\r\n"
        b"amz-sdk-request: attempt=1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    reader, writer = await asyncio.open_connection(host, int(port))
    calls, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        writer.write(call)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        calls += 1
    writer.close()
    return calls / seconds
