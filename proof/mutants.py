"""Receivers that break a promise on purpose: each must be caught, or the experiment would show nothing."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from proof import chaos
from webhooks.instances import Function

AT_ONCE = 4  # mutants that are tried at the same time
PROCESSES = 5
DELIVERIES = 300
BURSTS = 24


class Mutant(NamedTuple):
    name: str
    file: str
    changes: Mapping[str, str]
    """What becomes what in the artefact's file; each occurs there once."""


_VERIFY = "    verify(body, headers, keys=signing_keys.candidates(now), now=now, tolerance=TOLERANCE)\n"
_PUBLISH = "    logger.append_keys(eventbridge_id=bus.publish(events, entry))\n"
_RETURN = "    return outcome\n"

_APP, _BUS, _KEYS = "receiver/app.py", "receiver/bus.py", "receiver/signing_keys.py"
_TABLE, _SIGNATURE, _AWS = "receiver/deduplication.py", "openai_webhooks/signature.py", "receiver/aws.py"

MUTANTS: Final = (
    Mutant("publishes, then verifies", _APP, {_VERIFY: "", _RETURN: _VERIFY + _RETURN}),
    Mutant(
        "answers 200 while it publishes",
        _APP,
        {_PUBLISH: "    __import__('threading').Thread(target=bus.publish, args=(events, entry)).start()\n"},
    ),
    Mutant("never releases a claim", _TABLE, {"super()._delete_record(data_record)": "pass"}),
    Mutant(
        "deduplicates on the body",
        _APP,
        {'publish_once(webhook_id=headers["webhook-id"],': 'publish_once(webhook_id=entry["Detail"],'},
    ),
    Mutant("remembers for an hour", _APP, {'int(os.environ["DEDUPLICATION_HOURS"]) * 3600': "3600"}),
    Mutant("never claims", _TABLE, {"super()._put_record(data_record)": "pass"}),
    Mutant("never records", _TABLE, {"super()._update_record(data_record)": "pass"}),
    Mutant("claims without an end", _APP, {"once.register_lambda_context(context)": "pass"}),
    Mutant(
        "answers a copy in progress with 200",
        _APP,
        {'raise InProgress("another copy of this delivery is being published") from None': 'return "Duplicate"'},
    ),
    Mutant(
        "ignores an entry's own result", _BUS, {'if "EventId" in result:': 'if result.setdefault("EventId", "none"):'}
    ),
    Mutant("ignores EventBridge's errors", _BUS, {"failure = reason(error)": "return reason(error)"}),
    Mutant("publishes another text than was signed", _BUS, {"body.decode()": "body.decode() + ' '"}),
    Mutant("fails with the table", _TABLE, {"self._on_failure(reason(error))": "raise"}),
    Mutant("waits 20 s for an answer", _AWS, {"read_timeout=0.7": "read_timeout=20"}),
    Mutant("takes old deliveries", _SIGNATURE, {"if abs(now - int(timestamp)) > tolerance:": "if tolerance < 0:"}),
    Mutant("does not look for a new secret", _KEYS, {'*self._read_other("AWSPENDING"), ': ""}),
    Mutant("forgets the previous secret", _KEYS, {', *self._read_other("AWSPREVIOUS")': ""}),
)


class Caught(NamedTuple):
    mutant: Mutant
    by: str
    """The check that caught it; "" where none did."""
    invocations: int
    """How many it took."""


def mutate(artefact: Path, mutant: Mutant, folder: Path) -> Path:
    """A copy of the artefact with the change in it. Bytecode is checked by hash, so the old one doesn't count."""
    target = folder / "artefact"
    target.mkdir()
    changed = Path(mutant.file)
    for path in artefact.iterdir():
        if path.name == changed.parts[0]:
            shutil.copytree(path, target / path.name)
        else:
            (target / path.name).symlink_to(path)
    source = (target / changed).read_text()
    for old, new in mutant.changes.items():
        if source.count(old) != 1:
            raise ValueError(f"{mutant.name}: `{old.strip()}` occurs {source.count(old)} times in {changed}")
        source = source.replace(old, new)
    (target / changed).write_text(source)
    return target


async def run(seed: int, *, artefact: Path, function: Function, done: Callable[[], None]) -> list[Caught]:
    """Try each mutant until a check catches it. `done` is called after each."""
    free = asyncio.Semaphore(AT_ONCE)

    async def try_out(mutant: Mutant) -> Caught:
        plan = chaos.Plan(seed, DELIVERIES, BURSTS, PROCESSES)
        async with free:
            with TemporaryDirectory() as folder:
                experiment = await chaos.run(
                    plan,
                    artefact=mutate(artefact, mutant, Path(folder)),
                    function=function,
                    settled=lambda: None,
                    tell=lambda _: None,
                    until_violation=True,
                )
        done()
        return Caught(mutant, next(iter(experiment.violations), ""), experiment.counts["invocations"])

    return list(await asyncio.gather(*map(try_out, MUTANTS)))
