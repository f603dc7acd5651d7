"""Events of the extension, as records of the logger ``echkit``."""

from __future__ import annotations

import logging

from . import _echkit

_logger = logging.getLogger("echkit")
_level = logging.CRITICAL


def follow() -> None:
    """Have the extension keep what the logger wants; called before work is given to it."""
    global _level
    level = _logger.getEffectiveLevel()
    if level != _level:
        _level = level
        _echkit.log_level(level)


def deliver() -> None:
    """Hand over what has happened; called after each call of the extension that waits."""
    taken = _echkit.take_log()
    if taken is None:
        return
    lines, lost = taken
    for seconds, number, module, text in lines:
        logger = logging.getLogger(module.replace("::", "."))
        if not logger.isEnabledFor(number):
            continue
        record = logger.makeRecord(logger.name, number, "(echkit)", 0, text, (), None)
        # It may have waited for a call to end.
        record.created = seconds
        record.msecs = seconds % 1 * 1000
        logger.handle(record)
    if lost:
        _logger.warning("%d events are missing here: there were too many at a time", lost)
