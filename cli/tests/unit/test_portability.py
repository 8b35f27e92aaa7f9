"""The commands start on Windows, too: no module needs a Unix module when it is imported."""

import subprocess
import sys

IMPORT_ALL = """
import importlib, pkgutil, signal, sys

sys.modules["fcntl"] = None  # importing it raises ImportError
del signal.pthread_sigmask
import openai_webhooks_cli

for module in pkgutil.walk_packages(openai_webhooks_cli.__path__, "openai_webhooks_cli."):
    importlib.import_module(module.name)
"""


def test_modules_import_without_unix_modules() -> None:
    subprocess.run([sys.executable, "-c", IMPORT_ALL], check=True)
