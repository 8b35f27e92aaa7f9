"""What `make build` takes out of the artefact is not missed, and what it adds is used."""

import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from shutil import copy, copytree

import botocore
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.session import Session

from webhooks.artefact import SERVICES, add_bytecode, trim

DATA = Path(botocore.__file__).parent / "data"


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artefact that has been trimmed."""
    artefact = tmp_path_factory.mktemp("artefact")
    data = artefact / "botocore/data"
    for described in (*SERVICES, "sqs"):
        copytree(DATA / described, data / described)
    for file in DATA.glob("*.json"):
        copy(file, data)
    framework = artefact / "aws_lambda_powertools/event_handler"
    framework.mkdir(parents=True)
    trim(artefact)
    assert not framework.exists()
    return artefact


def _session(artefact: Path) -> Session:
    session = Session()
    session.get_component("data_loader").search_paths[:] = [str(artefact / "botocore/data")]
    return session


def test_it_leads_to_the_same_endpoints_in_each_region(trimmed: Path) -> None:
    ours, theirs = _session(trimmed), Session()
    regions = [
        region
        for partition in theirs.get_available_partitions()
        for region in theirs.get_available_regions("events", partition)
    ]
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"} <= set(regions)
    for region in regions:
        for service in SERVICES:
            one, other = (
                session.create_client(service, region, aws_access_key_id="a", aws_secret_access_key="b").meta
                for session in (ours, theirs)
            )
            assert (one.endpoint_url, one.partition) == (other.endpoint_url, other.partition)


def test_it_names_what_is_left_to_who_wants_another_service(trimmed: Path) -> None:
    with pytest.raises(UnknownServiceError, match=f"Unknown service: 'sqs'.*{', '.join(SERVICES)}"):
        _session(trimmed).create_client("sqs", "us-east-1")


def test_it_is_a_fraction_of_what_botocore_reads(trimmed: Path) -> None:
    assert (trimmed / "botocore/data/endpoints.json").stat().st_size < (DATA / "endpoints.json").stat().st_size / 20


def test_bytecode_is_checked_by_hash_and_names_the_place_in_lambda(tmp_path: Path) -> None:
    module = tmp_path / "receiver/app.py"
    module.parent.mkdir()
    module.write_text("def f(): pass")

    add_bytecode(tmp_path)

    bytecode = Path(cache_from_source(module)).read_bytes()
    assert bytecode.startswith(MAGIC_NUMBER + (0b11).to_bytes(4, "little"))  # PEP 552
    assert b"/var/task/receiver/app.py" in bytecode


def test_what_does_not_compile_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:")

    with pytest.raises(RuntimeError, match="compiles"):
        add_bytecode(tmp_path)


def test_it_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    data = tmp_path / "botocore/data"
    data.mkdir(parents=True)
    (data / "endpoints.json").write_text('{"partitions": []}')
    script = Path(__file__).parents[3] / "cli/webhooks/artefact.py"

    subprocess.run([sys.executable, "-P", "-S", script, tmp_path], check=True)
