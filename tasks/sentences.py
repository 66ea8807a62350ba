"""What a person, or cron, learns of Luigi: lines with a time, sentences, not tracebacks, and exit codes that say so."""

from __future__ import annotations

import logging
import re

import luigi.configuration
import luigi.interface
from luigi.setup_logging import InterfaceLogging

from stream import logs
from stream.errors import KlinesError

_OURS = re.compile(r"^(?:stream\.errors\.|stream\.rest\.)\w+: (.*)\Z", re.MULTILINE | re.DOTALL)


class SentenceFilter(logging.Filter):
    """Rewrites Luigi's log records in place: a KlinesError's traceback becomes its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record pass."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, KlinesError):
            record.msg, record.args = f"{record.getMessage().strip()}: {error}", ()
            record.exc_info = record.exc_text = None
        elif "Traceback (most recent call last)" in (text := record.getMessage()):
            found = _OURS.search(text)
            if found:
                record.msg, record.args = f"{text.partition(':')[0]}: {found[1].strip()}", ()
        return True


DEFAULTS = {
    # Two runs of one command at once are safe: each looks at the evidence first.
    ("core", "no_lock"): "true",
    # The scheduler knows what is done; to look again costs a read of the lake per pair.
    ("worker", "check_unfulfilled_deps"): "false",
    # Luigi's own default for a failure is 0, and cron would take it for a success.
    ("retcode", "already_running"): "10",
    ("retcode", "missing_data"): "20",
    ("retcode", "not_run"): "25",
    ("retcode", "task_failed"): "30",
    ("retcode", "scheduling_error"): "35",
    ("retcode", "unhandled_exception"): "40",
}
"""What Luigi is told where luigi.cfg says nothing."""


def install() -> None:
    """Applies to this process's Luigi, its log and its exit codes; a second call changes nothing."""
    config = luigi.configuration.get_config()  # type: ignore[no-untyped-call]
    for (section, name), value in DEFAULTS.items():
        if not config.has_option(section, name):
            config.set(section, name, value)
    InterfaceLogging._default = _log  # type: ignore[method-assign]  # noqa: SLF001  # where luigi.cfg names none
    logger = logging.getLogger("luigi-interface")
    if not any(isinstance(one, SentenceFilter) for one in logger.filters):
        logger.addFilter(SentenceFilter())


def _log(options: luigi.interface.core) -> bool:
    """Luigi's lines, and ours, as those of every other program, from `[core] log_level` on."""
    handler = logs.handler()
    for name in ("luigi-interface", "stream", "tasks"):
        logger = logging.getLogger(name)
        logger.setLevel(getattr(logging, options.log_level, logging.DEBUG))
        logger.addHandler(handler)
    return True
