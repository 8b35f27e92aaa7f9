"""Everything that any logger of this process writes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

type Records = list[logging.LogRecord]


@contextmanager
def every_log() -> Iterator[Records]:
    """Capture every record of every logger, at any level, until the end of the `with` statement."""
    records: Records = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    collector = Collector()
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("botocore", "boto3", "urllib3", "aws_lambda_powertools"))]
    before = [(logger, logger.level, logger.propagate, list(logger.filters)) for logger in loggers]
    for logger in loggers:
        # As in a new process, for a developer who wants to see everything.
        logger.setLevel(logging.DEBUG if logger is root else logging.NOTSET)
        logger.propagate = True
    # As app.py sets it.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    root.addHandler(collector)
    try:
        yield records
    finally:
        root.removeHandler(collector)
        for logger, level, propagate, filters in before:
            logger.setLevel(level)
            logger.propagate = propagate
            logger.filters[:] = filters


def text(records: Records) -> str:
    """Return the records' messages and all their attributes."""
    return "\n".join([*map(logging.Formatter().format, records), *(repr(record.__dict__) for record in records)])
