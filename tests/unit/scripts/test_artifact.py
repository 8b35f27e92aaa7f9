"""The receiver needs nothing that `make build` removes, and uses the bytecode that it adds."""

import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from shutil import copy, copytree

import botocore
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.session import Session

from scripts.artifact import SERVICES, add_bytecode, trim
from tests.support.paths import ROOT

DATA = Path(botocore.__file__).parent / "data"


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trimmed artifact."""
    artifact = tmp_path_factory.mktemp("artifact")
    data = artifact / "botocore/data"
    for service in (*SERVICES, "sqs"):
        copytree(DATA / service, data / service)
    for file in DATA.glob("*.json"):
        copy(file, data)
    framework = artifact / "aws_lambda_powertools/event_handler"
    framework.mkdir(parents=True)
    trim(artifact)
    assert not framework.exists()
    return artifact


def _session(artifact: Path) -> Session:
    session = Session()
    session.get_component("data_loader").search_paths[:] = [str(artifact / "botocore/data")]
    return session


def test_endpoints_stay_the_same_in_every_partition(trimmed: Path) -> None:
    ours, original = _session(trimmed), Session()
    for region in ("us-east-1", "ap-southeast-2", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"):
        for service in SERVICES:
            one, other = (
                session.create_client(service, region, aws_access_key_id="a", aws_secret_access_key="b").meta
                for session in (ours, original)
            )
            assert (one.endpoint_url, one.partition) == (other.endpoint_url, other.partition)


def test_removed_service_error_lists_kept_services(trimmed: Path) -> None:
    with pytest.raises(UnknownServiceError, match=f"Unknown service: 'sqs'.*{', '.join(SERVICES)}"):
        _session(trimmed).create_client("sqs", "us-east-1")


def test_endpoints_file_is_small(trimmed: Path) -> None:
    assert (trimmed / "botocore/data/endpoints.json").stat().st_size < (DATA / "endpoints.json").stat().st_size / 20


def test_bytecode_has_source_hash_and_lambda_path(tmp_path: Path) -> None:
    module = tmp_path / "receiver/app.py"
    module.parent.mkdir()
    module.write_text("def f(): pass")

    add_bytecode(tmp_path)

    bytecode = Path(cache_from_source(module)).read_bytes()
    assert bytecode.startswith(MAGIC_NUMBER + (0b11).to_bytes(4, "little"))  # PEP 552
    assert b"/var/task/receiver/app.py" in bytecode


def test_syntax_error_fails_build(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:")

    with pytest.raises(RuntimeError, match="compile"):
        add_bytecode(tmp_path)


def test_script_needs_only_standard_library(tmp_path: Path) -> None:
    data = tmp_path / "botocore/data"
    data.mkdir(parents=True)
    (data / "endpoints.json").write_text('{"partitions": []}')
    script = ROOT / "scripts/artifact.py"

    subprocess.run([sys.executable, "-P", "-S", script, tmp_path], check=True)
