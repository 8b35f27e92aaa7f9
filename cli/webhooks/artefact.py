"""What `make build` does to the function that `sam build` has built: leave out what nothing calls, add bytecode.

    python cli/webhooks/artefact.py FOLDER

Uses the standard library alone, since it runs in SAM's environment. docs/footprint.md says what it gains.
"""

import json
import sys
from compileall import compile_dir
from pathlib import Path
from py_compile import PycInvalidationMode
from shutil import rmtree

SERVICES = ("dynamodb", "events", "secretsmanager")
"""The AWS services that the deployed code calls."""


def trim(artefact: Path) -> None:
    """Take out what describes other AWS services, and Powertools' web framework."""
    data = artefact / "botocore/data"
    for described in data.glob("*/"):
        if described.name not in SERVICES:
            rmtree(described)
    # botocore reads it whole before it makes the first client.
    endpoints = data / "endpoints.json"
    content = json.loads(endpoints.read_bytes())
    for partition in content["partitions"]:
        partition["services"] = {name: of for name, of in partition["services"].items() if name in SERVICES}
    endpoints.write_text(json.dumps(content))
    rmtree(artefact / "aws_lambda_powertools/event_handler", ignore_errors=True)


def add_bytecode(artefact: Path) -> None:
    """Compile it for Lambda, where the zip's dates say nothing. Raises RuntimeError where that fails."""
    checked = PycInvalidationMode.CHECKED_HASH
    if not compile_dir(
        artefact, quiet=1, workers=0, stripdir=artefact, prependdir="/var/task", invalidation_mode=checked
    ):
        raise RuntimeError("not all of it compiles, as is said above")


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
    add_bytecode(Path(sys.argv[1]))
