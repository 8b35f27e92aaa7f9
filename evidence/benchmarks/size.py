"""Print the size of the built artifact by package, and compare it with its budget.

Exits with 1 if the artifact exceeds the budget, or if it contains something that no delivery needs.
"""

import argparse
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

from rich.console import Console
from rich.table import Table

from tests.support.paths import ARTIFACT


class Size(NamedTuple):
    """In bytes."""

    unpacked: int
    zipped: int


# Lambda downloads and unpacks the zip before it starts an instance. The budget was set a tenth above the size, so that
# the libraries can grow, but no library can be added.
BUDGET = Size(unpacked=22_800_000, zipped=8_600_000)

NEEDED = {
    *("receiver", "openai_webhooks", "requirements.txt"),
    # requirements/receiver.in
    *("aws-lambda-powertools", "boto3", "pydantic"),
    # their own dependencies
    *("annotated-types", "botocore", "jmespath", "pydantic-core", "python-dateutil", "s3transfer", "six"),
    *("typing-extensions", "typing-inspection", "urllib3"),
}
"""Everything that a delivery needs."""


def measure(artifact: Path) -> tuple[dict[str, Size], Size]:
    """Return the size of each package, and the total including the zip's directory."""
    owners = {
        file.parts[0]: distribution.name.replace("_", "-").lower()
        for distribution in distributions(path=[str(artifact)])
        for file in distribution.files or []
    }
    packages: dict[str, Size] = {}
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for path in sorted(path for path in artifact.rglob("*") if path.is_file()):
            file = path.relative_to(artifact)
            archive.write(path, file)
            # The bytecode of a single-file module, such as six.py, is in the top folder.
            top = f"{file.name.partition('.')[0]}.py" if file.parts[0] == "__pycache__" else file.parts[0]
            name = owners.get(top, top)
            unpacked, zipped = packages.get(name, Size(0, 0))
            info = archive.getinfo(file.as_posix())
            packages[name] = Size(unpacked + info.file_size, zipped + info.compress_size)
    return packages, Size(sum(size.unpacked for size in packages.values()), len(buffer.getvalue()))


def problems(packages: Mapping[str, Size], total: Size) -> list[str]:
    """Return what is wrong with an artifact of this content, and what to do."""
    return [
        f"{name} is in the artifact, but no delivery needs it. Remove it from src/ or requirements/receiver.in"
        for name in sorted(packages.keys() - NEEDED)
    ] + [
        f"{_mb(size)} MB {what} exceed the budget of {_mb(budget)} MB"
        for what, size, budget in zip(Size._fields, total, BUDGET, strict=True)
        if size > budget
    ]


def main() -> None:
    parser = argparse.ArgumentParser("make size", description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, default=ARTIFACT, help="folder (default: %(default)s)")
    artifact: Path = parser.parse_args().artifact
    packages, total = measure(artifact)
    if not packages:
        sys.exit(f"{artifact} is empty. Run make build")
    table = Table("package", box=None)
    for what in Size._fields:
        table.add_column(f"{what}, MB", justify="right")
    by_size = sorted(packages.items(), key=lambda package: package[1], reverse=True)
    for name, size in [*by_size, ("total", total), ("budget", BUDGET)]:
        table.add_row(name, *map(_mb, size))
    Console().print(table)
    if found := problems(packages, total):
        sys.exit("\n".join(found))


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.2f}"


if __name__ == "__main__":
    main()
