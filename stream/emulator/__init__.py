"""The exchange emulator: the wire formats of all exchanges on loopback, in simulated time, with faults.

It shares no code with `stream.exchanges`: what that parses, this writes from the exchanges' documents, so that one
tests the other. Entry: `Emulator` and `run` in `stream.emulator.server`.
"""
