"""`python -m stream`: the recorder as a process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from stream import logs, settings
from stream.errors import KlinesError
from stream.recorder import Recorder


def main() -> int:
    """The process's exit status: 0 after an orderly stop, 1 with a sentence on stderr."""
    logs.install()
    try:
        uploaded = asyncio.run(_record(settings.load()))
    except KlinesError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not uploaded:
        logging.shutdown()
        os._exit(0)  # a request to the lake that hangs would hold up the interpreter's end
    return 0


async def _record(found: settings.Settings) -> bool:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await Recorder(found).run(stop)


if __name__ == "__main__":
    sys.exit(main())
