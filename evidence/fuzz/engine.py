"""Run one target under libFuzzer, which exits the process: `python -m evidence.fuzz.engine TARGET [OPTION …]`."""

import importlib
import sys

import atheris


def main() -> None:
    target = sys.argv.pop(1)
    # pydantic's core and hmac are native code. They run, but report no coverage.
    with atheris.instrument_imports(include=["openai_webhooks", "receiver"]):
        execute = importlib.import_module(f"evidence.fuzz.{target}").execute
        mutator = importlib.import_module("evidence.fuzz.mutator")
    mutate = mutator.change_body if target == "unwrap" else mutator.change_delivery
    atheris.Setup(sys.argv, execute, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
