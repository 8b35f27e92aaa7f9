"""The step of `make build` after `sam build`: remove files that the receiver never uses, and add bytecode.

    python scripts/artifact.py FOLDER

The function starts faster with both. This script runs in SAM's environment, so it imports only the standard
library.
"""

import json
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode
from shutil import rmtree

SERVICES = ("dynamodb", "events", "secretsmanager")
"""The AWS services that the deployed code calls."""


def trim(artifact: Path) -> None:
    """Remove botocore's descriptions of other AWS services, and the web framework of Powertools."""
    data = artifact / "botocore/data"
    for service in data.glob("*/"):
        if service.name not in SERVICES:
            rmtree(service)
    # botocore parses the whole file before it creates the first client.
    endpoints = data / "endpoints.json"
    content = json.loads(endpoints.read_bytes())
    for partition in content["partitions"]:
        partition["services"] = {name: service for name, service in partition["services"].items() if name in SERVICES}
    endpoints.write_text(json.dumps(content))
    rmtree(artifact / "aws_lambda_powertools/event_handler", ignore_errors=True)


def add_bytecode(artifact: Path) -> None:
    """Compile all modules. Raises RuntimeError if one does not compile."""
    compiled = compile_dir(
        artifact,
        quiet=1,
        workers=0,
        stripdir=artifact,
        prependdir="/var/task",
        # Python checks a hash of the source. It cannot check dates, because a zip file changes them.
        invalidation_mode=PycInvalidationMode.CHECKED_HASH,
    )
    if not compiled:
        raise RuntimeError(f"a module in {artifact} does not compile: see the error above")


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
    add_bytecode(Path(sys.argv[1]))
