"""The set-up of `make`: install uv, and make a virtual environment of locked packages.

    python3 cli/set_up.py [ENVIRONMENT/ready REQUIREMENTS [PYPROJECT...]]

Run it in the folder of the Makefile. Without arguments, it installs only uv. The project of each PYPROJECT is installed
from its folder. Any python3 from 3.8 can run this script, so it imports only the standard library.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UV_VERSION = "0.13.9"
UV = ".venv-uv/bin/uv"

INSTALL_PYTHON = "install Python 3.13: pyenv install 3.13, or brew install python@3.13."
NETWORK = (
    "Connect to the network. Behind a company proxy, set HTTPS_PROXY. For another package index, set both:\n"
    "  export PIP_INDEX_URL=https://... UV_DEFAULT_INDEX=https://..."
)
# What pip, uv and venv say, what it means, and what to do. The first match counts.
FAULTS = [
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|SSLError|certificate verify failed",
        "TLS fault: this machine does not trust the server's certificate. Company proxies often replace certificates.\n"
        "Get your company's CA certificate as a PEM file, and set both variables:\n"
        "  export SSL_CERT_FILE=/path/to/ca.pem PIP_CERT=/path/to/ca.pem\n"
        "If the machine's own store has the certificate, this is enough for uv:\n"
        "  export UV_SYSTEM_CERTS=1",
    ),
    (
        r"ProxyError|Cannot connect to proxy|Tunnel connection failed|tunnel error|\b407 Proxy Auth",
        "Proxy fault: the proxy does not answer, or it refuses the connection.\n"
        "Check the address and the credentials in HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.",
    ),
    (
        r"No space left on device|Disk quota exceeded|os error (28|122)\b",
        "The disk is full. Free at least 1 GB, here and in the folder of UV_CACHE_DIR (by default ~/.cache/uv).",
    ),
    (
        r"Read-only file system|Permission denied|os error (13|30)\b",
        "A folder is not writable: the lines above name it.\n"
        "Move the clone to a folder of your own. If the lines name uv's cache, set UV_CACHE_DIR to another folder.",
    ),
    (
        r"No module named '?(venv|ensurepip)|ensurepip is (not available|disabled)",
        "python3 has no venv module, or no ensurepip module. Install them. On Debian and Ubuntu:\n"
        "  sudo apt-get install python3-venv",
    ),
    (
        r"No interpreter found for Python",
        f"Python 3.13 is missing, and the settings of uv forbid the download.\nAllow it, or {INSTALL_PYTHON}",
    ),
    (
        r"Hash mismatch|THESE PACKAGES DO NOT MATCH THE HASHES",
        "A downloaded package differs from the locked package. A proxy or a package index changes files.\n"
        "Check UV_DEFAULT_INDEX. If you use no index of your own, report this.",
    ),
    (
        r"\b[45]\d\d (Client|Server) Error|too many [45]\d\d error"  # pip
        r"|HTTP status (client|server) error|returned an? [45]\d\d",  # uv
        "The package index answered with an HTTP error. If it is your company's index, check its URL and credentials:\n"
        "PIP_INDEX_URL (for pip, which installs uv) and UV_DEFAULT_INDEX (for uv). Otherwise try again later.",
    ),
    (
        r"(?s)python-build-standalone.*(dns error|client error|error sending request|timed out)",
        "Python 3.13 comes from github.com, and this machine does not reach it.\n"
        "Connect to the network. Behind a company proxy, set HTTPS_PROXY. For a mirror of your own:\n"
        "  export UV_PYTHON_INSTALL_MIRROR=https://...",
    ),
    (
        r"name resolution|Name or service not known|nodename nor servname|dns error|Network is unreachable",
        f"No network, or the name of the server is wrong: it cannot be resolved.\n{NETWORK}",
    ),
    (
        r"Connection refused|Connection reset|No route to host|timed out|error sending request",
        f"The server does not answer.\n{NETWORK}",
    ),
    (
        r"No matching distribution found for uv",
        f"The package index has no uv {UV_VERSION} for this machine. Check PIP_INDEX_URL.",
    ),
]


def main(arguments: list[str]) -> None:
    """Set up what the arguments say. Raises SystemExit with the reason if a tool fails."""
    with _lock():
        _install_uv()
        if arguments:
            ready, requirements, *projects = map(Path, arguments)
            _make_environment(ready, requirements, projects)


def _install_uv() -> None:
    if UV_VERSION in _output(UV, "--version").split():
        return
    folder = ".venv-uv"
    _run(f"Making {folder}", sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
    # `venv` itself hides why ensurepip fails.
    _run("Unpacking pip", f"{folder}/bin/python", "-m", "ensurepip")
    # Only the log says which HTTP error a package index answers.
    log = f"{folder}/pip.log"
    pip = (f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check", "--retries=2", f"--log={log}")
    _run(f"Downloading uv {UV_VERSION}, which installs the rest", *pip, "install", f"uv=={UV_VERSION}", log=log)


def _make_environment(ready: Path, requirements: Path, projects: list[Path]) -> None:
    """Make the environment, unless the file `ready` says that it has these packages and was made in this folder."""
    environment = str(ready.parent)
    here = str(Path.cwd())
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in [requirements, *projects])).hexdigest()
    made_for = ready.read_text(encoding="utf-8").splitlines() if ready.exists() else []
    if made_for == [here, digest]:
        ready.touch()  # for make: another make has done the work, or a file is newer but has the same text
        return
    if made_for and made_for[0] != here:
        print(f"{environment} was made in {made_for[0]}. An environment cannot be moved, so it is made again.")
    if ready.exists():
        ready.unlink()
    has_python = _output(UV, "python", "find", "--system", "--no-python-downloads", "3.13")
    step = f"Making {environment}" if has_python else f"Downloading Python 3.13 for {environment}"
    _run(step, UV, "venv", "--clear", "--seed", "--python", "3.13", environment)
    install = (UV, "pip", "install", "--python", environment)
    count = len(re.findall(r"^\S+==", requirements.read_text(encoding="utf-8"), re.MULTILINE))
    _run(f"Installing {count} packages of {requirements}", *install, "--require-hashes", "-r", str(requirements))
    if projects:
        options = [option for project in projects for option in ("-e", str(project.parent))]
        _run(f"Installing this project into {environment}", *install, "--no-deps", "--no-build-isolation", *options)
    ready.write_text(f"{here}\n{digest}\n", encoding="utf-8")


@contextmanager
def _lock() -> Iterator[None]:
    """Keep other set-ups of this folder waiting.

    The system releases the lock when this process and its current tool have ended, however they end.
    """
    lock = os.open(".", os.O_RDONLY)
    os.set_inheritable(lock, True)  # noqa: FBT003  # positional only

    def acquire() -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # Some network file systems cannot lock a folder.
        return True

    try:
        if not acquire():
            _show("Waiting for another make that sets up this folder", acquire)
        yield
    finally:
        os.close(lock)


def _run(step: str, *command: str, log: str | None = None) -> None:
    """Run a tool. If it fails, print all that it says, and what to do. `log` is a file with more details."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, close_fds=False)  # noqa: S603  # the tools above
        _show(step, lambda: process.poll() is not None)
        if process.returncode == 0:
            return
        output.seek(0)
        text = output.read().decode(errors="replace")
    details = Path(log).read_text(encoding="utf-8", errors="replace") if log and Path(log).exists() else ""
    sys.exit(f"{text}\n{step} failed.\n{explain(text + details)}")


def _output(*command: str) -> str:
    """Return what a tool prints. Nothing if it fails."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def explain(output: str) -> str:
    """Return the cause of a failure, from what the tool says, and what to do."""
    text = next((text for pattern, text in FAULTS if re.search(pattern, output)), "The lines above have the reason.")
    return f"{text}\nOr {INSTALL_PYTHON}" if "python-build-standalone" in output else text


def _show(step: str, is_done: Callable[[], bool]) -> None:
    """Print a step, wait until it is done, and print its seconds. On a terminal, the seconds count up."""
    start = time.monotonic()
    print(step, end="", flush=True)
    while not is_done():
        time.sleep(0.1)
        if sys.stdout.isatty():
            print(f"\r{step}: {time.monotonic() - start:.0f} s", end="", flush=True)
    line = f"{step}: {time.monotonic() - start:.1f} s"
    print(f"\r{line}" if sys.stdout.isatty() else line[len(step) :], flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"\n{error}\n{explain(str(error))}")
