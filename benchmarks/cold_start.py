"""Cold starts of the artefact in several forms: from a new process to its first 200.

`make build && .venv/bin/python benchmarks/cold_start.py [ROUNDS]`, on Linux. Each start is a fresh process with nothing
on its path but the artefact and Lambda's own runtime client. This process is the runtime API and the three AWS
services; those answer at once, over TLS as the real ones do. A round starts every form once, in random order, and forms
are compared within a round only, since whatever else the machine does slows all of them. What Lambda does before there
is a process, fetching and unpacking the zip, is not in it.
"""
# ruff: noqa: S603, S607  # the commands are its own

import compileall
import json
import logging
import os
import random
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from py_compile import PycInvalidationMode
from statistics import quantiles
from tempfile import TemporaryDirectory
from threading import Thread
from typing import ClassVar, NamedTuple

from rich.console import Console
from rich.table import Table

from webhooks import samples
from webhooks.embedded import LOOPBACK, Aws

ROOT = Path(__file__).resolve().parents[1]
DELIVERY = (ROOT / "events/response.completed.json").read_bytes()
SDK = ("boto3", "botocore", "dateutil", "s3transfer", "six.py", "urllib3")


class Form(NamedTuple):
    name: str
    path: Sequence[Path]
    """Folders on Python's path, the task root first."""


class Start(NamedTuple):
    """Seconds since the process began."""

    init: float  # of CPU, until it asks for its first event
    cpu: float  # until it has answered it
    wall: float  # likewise


def forms(folder: Path) -> Iterator[Form]:
    """What `sam build` and `make build` leave, and other ways to ship the same code."""
    sam = ROOT / ".venv-sam/bin"
    subprocess.run(
        [sam / "sam", "build", "--build-dir", folder / "sam"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{sam}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"},
        check=True,
        capture_output=True,
    )
    plain = folder / "sam/ReceiverFunction"
    yield Form("sam build", [plain])
    yield Form("  and bytecode", [_compiled(plain)])

    # The stand-in for Lambda's own boto3: the same version, after the task root.
    rest, runtime = folder / "rest", folder / "runtime"
    shutil.copytree(plain, rest, ignore=shutil.ignore_patterns(*SDK))
    shutil.copytree(plain, runtime, ignore=lambda top, names: set(names) - set(SDK) if top == str(plain) else [])
    yield Form("boto3 from the runtime", [rest, runtime])
    yield Form("  and bytecode of the rest", [_compiled(rest), runtime])
    yield Form("  and bytecode of both", [_compiled(rest), _compiled(runtime)])

    made, trimmed = folder / "made", folder / "trimmed"
    shutil.copytree(ROOT / ".aws-sam/build/ReceiverFunction", made)
    shutil.copytree(made, trimmed, ignore=shutil.ignore_patterns("__pycache__"))
    yield Form("make build", [made])
    yield Form("  without its bytecode", [trimmed])


def _compiled(folder: Path) -> Path:
    target = folder.with_name(f"{folder.name}-compiled")
    if not target.exists():
        shutil.copytree(folder, target)
        compileall.compile_dir(target, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return target


class Handler(BaseHTTPRequestHandler):
    """What the two servers have in common."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer goes out in one piece

    def read(self) -> bytes:
        return self.rfile.read(int(self.headers["content-length"]))

    def answer(self, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(200)
        for name, value in {"content-length": str(len(body)), "content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Services(Handler):
    """Secrets Manager, DynamoDB and EventBridge, as far as one good delivery needs them."""

    answers: ClassVar[Mapping[str, object]] = {
        "secretsmanager.GetSecretValue": {"SecretString": samples.DEVELOPMENT_SECRET},
        "DynamoDB_20120810.PutItem": {},
        "AWSEvents.PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]},
        "DynamoDB_20120810.UpdateItem": {},
    }

    def do_POST(self) -> None:
        self.read()
        self.answer(json.dumps(self.answers[self.headers["x-amz-target"]]).encode(), {})


class Runtime(Handler):
    """Lambda's runtime API: hands out one delivery, reads the clocks, and ends the process at its answer."""

    server: "Process"

    def do_GET(self) -> None:
        self.server.init = self.server.cpu()
        deadline = str(int((time.time() + 10) * 1000))
        arn = "arn:aws:lambda:us-east-1:123456789012:function:ReceiverFunction"
        names = ("Aws-Request-Id", "Deadline-Ms", "Invoked-Function-Arn")
        self.answer(
            DELIVERY, {f"Lambda-Runtime-{name}": value for name, value in zip(names, ("1", deadline, arn), strict=True)}
        )

    def do_POST(self) -> None:
        self.server.start = Start(self.server.init, self.server.cpu(), time.perf_counter() - self.server.began)
        self.server.result = json.loads(self.read())
        self.server.process.kill()


class Process(ThreadingHTTPServer):
    """One process of the function, from its start to its first answer."""

    init: float
    start: Start
    result: Mapping[str, object]

    def __init__(self, form: Form, environment: Mapping[str, str]) -> None:
        super().__init__((LOOPBACK, 0), Runtime)
        Thread(target=self.serve_forever, args=[0.01]).start()
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [f"{sys.base_prefix}/bin/python3.13", "-S", "-m", "awslambdaric", environment["_HANDLER"]],
            cwd=form.path[0],
            env={
                **environment,
                "AWS_LAMBDA_RUNTIME_API": f"{LOOPBACK}:{self.server_port}",
                "LAMBDA_TASK_ROOT": str(form.path[0]),
                "PYTHONPATH": os.pathsep.join([*map(str, form.path), environment["PYTHONPATH"]]),
            },
            stdout=subprocess.DEVNULL,
        )

    def cpu(self) -> float:
        return time.clock_gettime((~self.process.pid << 3) | 2)  # what clock_getcpuclockid(3) gives for its pid

    def wait(self) -> Start:
        self.process.wait(60)
        self.shutdown()
        self.server_close()
        if self.result.get("statusCode") != 200:
            raise RuntimeError(f"not a 200: {self.result}")
        return self.start


def services(folder: Path) -> tuple[str, Path]:
    """Start them. Returns their URL and the certificate that they show."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    options = f"-x509 -newkey rsa:2048 -nodes -subj /CN=loopback -addext subjectAltName=IP:{LOOPBACK}"
    subprocess.run(
        ["openssl", "req", *options.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer((LOOPBACK, 0), Services)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"https://{LOOPBACK}:{server.server_port}", certificate


def environment(folder: Path) -> dict[str, str]:
    """The function's, as the template declares it and Lambda completes it."""
    client = folder / "client"
    client.mkdir()
    for package in map(distribution, ("awslambdaric", "simplejson", "snapshot-restore-py")):
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            (client / top).symlink_to(str(package.locate_file(top)))
    url, certificate = services(folder)
    # As large as the one that botocore reads by itself: that takes time.
    bundle = folder / "bundle.pem"
    bundle.write_bytes((folder / "sam/ReceiverFunction/botocore/cacert.pem").read_bytes() + certificate.read_bytes())
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print each request
    aws = Aws()
    function = aws.deploy(ROOT / "template.yaml", "openai-webhooks").functions["ReceiverFunction"]
    aws.close()
    return {
        **function.environment,
        "AWS_CA_BUNDLE": str(bundle),
        "AWS_ENDPOINT_URL": url,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",  # the task root is read-only in Lambda
        "PYTHONPATH": str(client),
        "TIMESTAMP_TOLERANCE_SECONDS": "3153600000",  # the deliveries in events/ were signed long ago
        "_HANDLER": function.handler,
    }


def table(starts: Mapping[str, Sequence[Start]]) -> Table:
    """Medians, and quartiles in brackets. The ratios are to the first form's start in the same round."""
    result = Table("", "init, CPU ms", "first 200, CPU ms", "first 200, ms", "CPU, ratio", box=None)
    first = next(iter(starts.values()))
    for name, of in starts.items():
        times = [_quartiles([start[i] * 1000 for start in of], ".0f") for i in range(3)]
        ratios = [start.cpu / base.cpu for start, base in zip(of, first, strict=True)]
        result.add_row(name, *times, _quartiles(ratios, ".2f"))
    return result


def _quartiles(values: Sequence[float], form: str) -> str:
    low, median, high = quantiles(values, method="inclusive")
    return f"{median:{form}} ({low:{form}} to {high:{form}})"


def main() -> None:
    rounds = int(sys.argv[1]) if sys.argv[1:] else 15
    with TemporaryDirectory() as name:
        candidates = list(forms(Path(name)))
        variables = environment(Path(name))
        starts: dict[str, list[Start]] = {form.name: [] for form in candidates}
        for number in range(rounds + 1):
            for form in random.sample(candidates, len(candidates)):
                start = Process(form, variables).wait()
                if number > 0:  # the first round brings the files into memory
                    starts[form.name].append(start)
    Console(width=120).print(table(starts))


if __name__ == "__main__":
    main()
