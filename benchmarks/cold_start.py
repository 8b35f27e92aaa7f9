"""Cold starts of the artefact in several forms: from a new process to its first 200.

`make build && .venv/bin/python benchmarks/cold_start.py [ROUNDS]`, on Linux. Each start is a fresh process with nothing
on its path but the artefact and Lambda's own runtime client. This process is the runtime API (proof.runtime) and the
three AWS services (proof.services); those answer at once, over TLS as the real ones do. A round starts every form once,
in random order, and forms are compared within a round only, since whatever else the machine does slows all of them.
What Lambda does before there is a process, fetching and unpacking the zip, is not in it.
"""
# ruff: noqa: S603, S607  # the commands are its own

import asyncio
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
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from py_compile import PycInvalidationMode
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from proof import runtime, services
from proof.http import LOOPBACK
from proof.runtime import ROOT, Instance
from webhooks import gateway, samples

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


def delivery() -> bytes:
    """A signed delivery, as API Gateway hands it over."""
    now = int(time.time())
    body = samples.encode(samples.sample("response.completed", created_at=now))
    headers = samples.headers(body, secret=samples.DEVELOPMENT_SECRET, timestamp=now, webhook_id=samples.new_id("wh_"))
    return json.dumps(gateway.request_event("POST", gateway.PATH, headers, body, now=now)).encode()


async def start(form: Form, variables: Mapping[str, str]) -> Start:
    """Start a process, let it answer one delivery, and end it."""
    instance = await Instance.start(form.path, variables)
    try:
        init = instance.cpu()
        result = json.loads(await instance.invoke(delivery(), seconds=10))
        measured = Start(init, instance.cpu(), time.perf_counter() - instance.began)
    finally:
        instance.kill()
    if result["statusCode"] != 200:
        raise RuntimeError(f"not a 200: {result}")
    return measured


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for the loopback address, for a server, and in the bundle that its clients read."""
    certificate, key, bundle = folder / "certificate.pem", folder / "key.pem", folder / "bundle.pem"
    options = f"-x509 -newkey rsa:2048 -nodes -subj /CN=loopback -addext subjectAltName=IP:{LOOPBACK}"
    subprocess.run(
        ["openssl", "req", *options.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    # As large as the bundle that botocore reads by itself: that takes time.
    bundle.write_bytes((folder / "sam/ReceiverFunction/botocore/cacert.pem").read_bytes() + certificate.read_bytes())
    return context, bundle


@contextmanager
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """The function's, with AWS's three services running."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print each request
    function = runtime.declared()
    tls, bundle = certificate(folder)
    aws = services.declared_by(function.environment, secret=samples.DEVELOPMENT_SECRET)
    with services.in_thread(aws, tls=tls) as port:
        yield {
            **runtime.environment(
                function, endpoint=f"https://{LOOPBACK}:{port}", beside=runtime.client(folder / "client")
            ),
            "AWS_CA_BUNDLE": str(bundle),
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
    starts: dict[str, list[Start]] = defaultdict(list)
    with TemporaryDirectory() as name:
        candidates = list(forms(Path(name)))
        with environment(Path(name)) as variables:
            for number in range(rounds + 1):
                for form in random.sample(candidates, len(candidates)):
                    measured = asyncio.run(start(form, variables))
                    if number > 0:  # the first round brings the files into memory
                        starts[form.name].append(measured)
    Console(width=120).print(table({form.name: starts[form.name] for form in candidates}))


if __name__ == "__main__":
    main()
