"""The launcher of ministack leaves nothing behind, and refuses versions of ministack that it does not fit."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import requests

from evidence.deployment.ministack import PYTHON, delete_leftovers, ministack
from tests.support.background import wait_until
from tests.support.paths import ROOT

START: Final = """
import time
from evidence.deployment.ministack import ministack

with ministack() as aws:
    print(aws.url, aws.output.parent, flush=True)
    time.sleep(60)
"""
OTHER_VERSION: Final = """
import importlib.metadata, runpy, sys

importlib.metadata.version = lambda _name: "0.0.0"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_listens_only_on_loopback_and_leaves_nothing() -> None:
    with ministack() as aws:
        port = int(aws.url.rpartition(":")[2])
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))  # free, unless something listens on all addresses

    assert not aws.output.parent.exists()
    assert not answers(aws.url)


def test_killed_run_is_cleaned_up() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as run:
        assert run.stdout
        url, folder = run.stdout.readline().split()
        assert answers(url)
        run.send_signal(signal.SIGKILL)

    def cleaned_up() -> bool:
        delete_leftovers()  # as the next run does
        return not Path(folder).exists()

    wait_until(cleaned_up, "the end of ministack")
    assert not answers(url)


def test_other_version_is_refused() -> None:
    server = str(ROOT / "evidence/deployment/ministack_server.py")
    command = [str(PYTHON), "-P", "-c", OTHER_VERSION, server, "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert ended.returncode == 1
    assert "ministack 0.0.0 is installed" in ended.stderr
    assert "make lock e2e" in ended.stderr


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code > 0
    except requests.ConnectionError:
        return False
