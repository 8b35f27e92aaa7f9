"""`make` sets up its tools once, for one folder, and gives reasons if it cannot."""

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread

import pytest
import trustme

from tests.support.paths import ROOT

_spec = spec_from_file_location("set_up", ROOT / "cli/set_up.py")
assert _spec
assert _spec.loader
set_up = module_from_spec(_spec)
_spec.loader.exec_module(set_up)

# In place of uv. It writes down each environment that it makes, and then waits if there is a pipe to wait for.
UV = f"""#!{sys.executable}
import os, sys
if sys.argv[1] in ("--version", "python"):
    print({set_up.UV_VERSION!r})
elif sys.argv[1] == "venv":
    os.makedirs(".venv", exist_ok=True)
    with open("made", "a") as made:
        made.write("x")
    if os.path.exists("gate"):
        open("gate").read()
"""
ARGUMENTS = [sys.executable, "cli/set_up.py", ".venv/ready", "requirements/dev.txt", "pyproject.toml"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder that has just what the set-up needs."""
    folder = tmp_path / "clone"
    for name in ("Makefile", "cli/set_up.py", "cli/pyproject.toml", "pyproject.toml"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, file)
    (folder / "requirements").mkdir()
    (folder / "requirements/dev.txt").write_text("six==1.0\n")
    uv = folder / set_up.UV
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    return folder


def test_environment_is_made_once(clone: Path) -> None:
    for _ in range(2):
        assert _make(clone).returncode == 0

    assert _times_made(clone) == 1


def test_touched_lock_changes_nothing(clone: Path) -> None:
    _make(clone)
    (clone / "requirements/dev.txt").touch()
    _make(clone)

    assert _times_made(clone) == 1
    assert subprocess.run(["make", "-q", ".venv/ready"], check=False, cwd=clone).returncode == 0


def test_changed_lock_makes_environment_again(clone: Path) -> None:
    _make(clone)
    (clone / "requirements/dev.txt").write_text("six==2.0\n")
    _make(clone)

    assert _times_made(clone) == 2


@pytest.mark.parametrize("name", ["moved", "with spaces"])
def test_moved_clone_repairs_itself(name: str, clone: Path) -> None:
    _make(clone)
    moved = clone.rename(clone.parent / name)

    assert str(clone) in _make(moved).stdout
    assert _times_made(moved) == 2
    assert str(clone) not in _make(moved).stdout
    assert _times_made(moved) == 2


def test_failed_set_up_is_repeated(clone: Path) -> None:
    uv = clone / set_up.UV
    uv.write_text(UV.replace("    if os", "    sys.exit('out of order')\n    if os"))

    failed = _make(clone)

    assert failed.returncode != 0
    assert "out of order" in failed.stderr
    uv.write_text(UV)
    assert _make(clone).returncode == 0
    assert _times_made(clone) == 2


def test_second_set_up_waits_for_first(clone: Path) -> None:
    os.mkfifo(clone / "gate")
    with _set_up(clone) as first:
        with (clone / "gate").open("w"):  # returns when the first is in uv, and keeps it there
            second = _set_up(clone)
            _wait_for_output(second)
        second.communicate()
        first.communicate()

    assert first.returncode == second.returncode == 0
    assert _times_made(clone) == 1


def test_killed_set_up_does_not_block_next(clone: Path) -> None:
    os.mkfifo(clone / "gate")
    with _set_up(clone) as first, (clone / "gate").open("w"):
        (clone / "gate").unlink()
        first.kill()
        second = _set_up(clone)
        _wait_for_output(second)  # uv of the first still writes
    second.communicate()

    assert second.returncode == 0
    assert _times_made(clone) == 2


def test_each_fault_of_uv_has_its_own_explanation(clone: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / set_up.UV, clone / set_up.UV)
    with _index(503) as broken, _index(403) as forbidding, _index(200, tls=True) as untrusted:
        indexes = {
            "HTTP": {"UV_DEFAULT_INDEX": broken},
            "credentials": {"UV_DEFAULT_INDEX": forbidding},
            "TLS": {"UV_DEFAULT_INDEX": untrusted},
            "refused": {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/"},
            "name": {"UV_DEFAULT_INDEX": "http://nowhere.invalid/"},
            "proxy": {"UV_DEFAULT_INDEX": "https://nowhere.invalid/", "HTTPS_PROXY": "http://127.0.0.1:9"},
        }
        environment = {
            "PATH": f"{sys.base_prefix}/bin:{os.environ['PATH']}",  # has Python 3.13
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "UV_HTTP_RETRIES": "0",
            "UV_NO_CONFIG": "1",
        }
        explanations = {}
        for fault, variables in indexes.items():
            result = _make(clone, **environment, **variables)
            output, _, explanation = result.stderr.partition(" failed.\n")
            assert result.returncode != 0
            assert variables["UV_DEFAULT_INDEX"] in output  # uv's own words
            explanations[fault] = explanation

    assert explanations.pop("credentials") == explanations["HTTP"]
    assert len(set(explanations.values())) == len(explanations)


# What the tools say, as recorded from pip 23.2 and 24.2, uv 0.13.9, and venv of Python 3.11 and 3.13.
PIP = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by '{}': /simple/uv/\nERROR: No matching distribution found for uv==0.13.9"
)
RECORDED = {
    "TLS": [
        PIP.format("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
        "error: Failed to fetch: https://localhost/simple/six/\n  cause: invalid peer certificate: UnknownIssuer",
    ],
    "proxy": [
        PIP.format("ProxyError('Cannot connect to proxy.', NewConnectionError('[Errno 111] Connection refused'))"),
        PIP.format("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 Proxy Auth'))"),
        "  cause: client error (Connect)\n  cause: tunnel error: unsuccessful",
    ],
    "disk": [
        "OSError: [Errno 28] No space left on device",
        "error: failed to write to file `x`: No space left on device (os error 28)",
    ],
    "read-only": [
        "Error: [Errno 30] Read-only file system: '/clone/.venv-uv'",
        "Error: [Errno 13] Permission denied: '/clone/.venv-uv'",
        "error: Failed to initialize cache at `/cache`\n  cause: failed to open file: Permission denied (os error 13)",
    ],
    "venv": [
        "/usr/bin/python3: No module named venv",
        "/clone/.venv-uv/bin/python: No module named ensurepip",
        "ensurepip is disabled in Debian/Ubuntu for the system python.",
    ],
    "Python": ["error: No interpreter found for Python 3.13 in managed installations or search path"],
    "hash": ["error: Failed to download `six==1.16.0`\n  cause: Hash mismatch for `six==1.16.0`"],
    "HTTP": [
        "ERROR: No matching distribution found for uv==0.13.9\nCould not fetch URL http://localhost/simple/uv/: 403 "
        "Client Error: Forbidden for url: http://localhost/simple/uv/ - skipping",
        "(Caused by ResponseError('too many 503 error responses')) - skipping",
        "  cause: HTTP status server error (503 Service Unavailable) for url (http://localhost/simple/six/)",
        "hint: An index (http://localhost/simple) returned a 403 Forbidden error.",
    ],
    "name": [
        PIP.format("Failed to establish a new connection: [Errno -3] Temporary failure in name resolution"),
        "  cause: dns error\n  cause: failed to lookup address information: Name or service not known",
    ],
    "refused": [
        PIP.format("Failed to establish a new connection: [Errno 111] Connection refused"),
        "error: Failed to fetch: http://localhost:9/\n  cause: tcp connect error\n  cause: Connection refused",
    ],
    "no uv": ["ERROR: No matching distribution found for uv==0.13.9"],
    "unknown": ["Segmentation fault"],
}


def test_each_recorded_fault_has_its_own_explanation() -> None:
    explanations = {fault: {set_up.explain(output) for output in outputs} for fault, outputs in RECORDED.items()}

    assert {fault for fault, texts in explanations.items() if len(texts) > 1} == set()
    assert len(set.union(*explanations.values())) == len(RECORDED)


def test_failed_download_of_python_suggests_another_way() -> None:
    output = "Failed to download `https://github.com/astral-sh/python-build-standalone/releases/x`\n  cause: dns error"

    assert "pyenv install" in set_up.explain(output)
    # This download does not come from a package index.
    assert "UV_PYTHON_INSTALL_MIRROR" in set_up.explain(output)
    assert "PIP_INDEX_URL" not in set_up.explain(output)
    assert "pyenv install" not in set_up.explain("cause: dns error")


@pytest.mark.parametrize(
    "python3",
    [
        pytest.param("", id="missing"),
        pytest.param("#!/bin/sh\n[ $1 = -c ] && exit 1\necho Python 3.6.15\n", id="too old"),
        pytest.param("#!/bin/sh\necho 'pyenv: version `3.13` is not installed'\nexit 127\n", id="broken"),
    ],
)
def test_unsuitable_python_is_named(python3: str, clone: Path, tmp_path: Path) -> None:
    for tool in ("make", "sh", "grep"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    if python3:
        (tmp_path / "python3").write_text(python3)
        (tmp_path / "python3").chmod(0o755)

    result = _make(clone, PATH=str(tmp_path))

    assert result.returncode != 0
    assert re.search("not found|3.6.15|not installed", result.stderr)
    assert _times_made(clone) == 0


def _make(clone: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the Makefile's rule for an environment."""
    return subprocess.run(
        ["make", ".venv/ready"], check=False, cwd=clone, env=os.environ | environment, capture_output=True, text=True
    )


def _set_up(clone: Path) -> subprocess.Popen[bytes]:
    """Start the script."""
    return subprocess.Popen(ARGUMENTS, cwd=clone, stdout=subprocess.PIPE)


def _wait_for_output(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout
    assert process.stdout.read(1)


def _times_made(clone: Path) -> int:
    made = clone / "made"
    return len(made.read_text()) if made.exists() else 0


@contextmanager
def _index(status: int, *, tls: bool = False) -> Iterator[str]:
    """Run a package index that answers every request with `status`. Yield its URL."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: object) -> None:
            """Expect that a client refuses the certificate."""

    with Server(("127.0.0.1", 0), Index) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trustme.CA().issue_cert("localhost").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http{'s' * tls}://localhost:{server.server_port}/"
        server.shutdown()
