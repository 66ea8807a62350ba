"""Everything that can go wrong and that a person can put right.

KlinesError
├── SettingsError       luigi.cfg is absent, incomplete or says something impossible
├── MessageError        a websocket message that the exchange's parser does not accept
├── RestError           an exchange's REST interface could not be read
│   └── UnknownPair     the exchange says that it does not list this pair
├── LakeError           the object store or folder refused
├── SpoolError          the local spool could not be written or read
│   └── SpoolFull       ... because the disk is full
├── HourNotReady        the hour asked for is not over yet
├── HourUnknown         nothing at all is known about the hour asked for
└── WarehouseError      Postgres is down, too old, or refused

The message of each error is a sentence that names the thing, the value that was found, and the remedy.
"""

from __future__ import annotations


class KlinesError(Exception):
    """Base of every error that is shown to a person as a sentence, without a traceback."""


class SettingsError(KlinesError):
    """The settings cannot be used as they are."""


class MessageError(KlinesError):
    """A message that no parser accepts; it is kept in bronze/rejected with this error's text as the reason."""


class RestError(KlinesError):
    """An exchange's REST interface could not be read: unreachable, refusing, or answering nonsense."""


class UnknownPair(RestError):
    """The exchange does not list the pair that it was asked for."""


class LakeError(KlinesError):
    """The object store or folder that holds the lake refused."""


class SpoolError(KlinesError):
    """The local spool cannot be used."""


class SpoolFull(SpoolError):
    """The disk under the spool is full: nothing more can be acknowledged until there is room."""


class HourNotReady(KlinesError):
    """The hour asked for is not over yet, or lies in the future."""


class HourUnknown(KlinesError):
    """Nothing was recorded about the hour asked for, nobody has a candle of it, and no earlier one is published."""


class WarehouseError(KlinesError):
    """Postgres cannot be used: unreachable, too old, not initialised, or refusing."""
