"""Events of the extension, as records of the logger ``echkit``."""

from __future__ import annotations

import logging

_logger = logging.getLogger("echkit")


def level() -> int:
    """The least level of what is wanted."""
    return _logger.getEffectiveLevel()


def deliver(lines: list[tuple[float, int, str, str]], lost: int) -> None:
    """Hand these over: seconds since 1970, level, module and text of each."""
    for seconds, number, module, text in lines:
        logger = logging.getLogger(module.replace("::", "."))
        if not logger.isEnabledFor(number):
            continue
        record = logger.makeRecord(logger.name, number, "(echkit)", 0, text, (), None)
        # It may have waited for a thread to come back.
        record.created = seconds
        record.msecs = seconds % 1 * 1000
        logger.handle(record)
    if lost:
        _logger.warning("%d events are missing here: there were too many at a time", lost)
