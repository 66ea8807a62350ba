"""What a person, or cron, learns when a task fails: a sentence, not a traceback, and an exit code that says so."""

from __future__ import annotations

import logging
import re

import luigi.configuration

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


EXIT_CODES = {
    "already_running": "10",
    "missing_data": "20",
    "not_run": "25",
    "task_failed": "30",
    "scheduling_error": "35",
    "unhandled_exception": "40",
}
"""Where [retcode] leaves one out: Luigi's own default for a failure is 0, and cron would take it for a success."""


def install() -> None:
    """Applies to this process's Luigi, its log and its exit codes; a second call changes nothing."""
    config = luigi.configuration.get_config()  # type: ignore[no-untyped-call]
    if not config.has_option("core", "no_lock"):
        config.set("core", "no_lock", "true")  # two runs of one command are safe: each looks at the evidence first
    for name, code in EXIT_CODES.items():
        if not config.has_option("retcode", name):
            config.set("retcode", name, code)
    logger = logging.getLogger("luigi-interface")
    if not any(isinstance(one, SentenceFilter) for one in logger.filters):
        logger.addFilter(SentenceFilter())
