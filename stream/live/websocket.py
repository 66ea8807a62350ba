"""A websocket that hands over what it receives at once, in the order of the wire, instead of queueing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event


class Websocket(ClientConnection):
    """The library's connection. `receive` gets all messages of one read from the network; it must not raise."""

    def __init__(self, protocol: ClientProtocol, *, receive: Callable[[list[bytes]], None], **options: Any) -> None:
        super().__init__(protocol, **options)
        self.last_heard = self.loop.time()
        self._receive = receive
        self._messages: list[bytes] = []
        self._fragments: list[bytes] = []

    def process_event(self, event: Event) -> None:
        """Collect data frames; all else is the library's business."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.fin and not self._fragments:
            self._messages.append(bytes(event.data))
        else:
            self._fragments.append(bytes(event.data))
            if event.fin:
                self._messages.append(b"".join(self._fragments))
                self._fragments.clear()

    def data_received(self, data: bytes) -> None:
        """All messages of one read are handled together: one write to the spool, and nothing is held back."""
        self.last_heard = self.loop.time()
        super().data_received(data)
        if self._messages:
            messages, self._messages = self._messages, []
            self._receive(messages)
        if self.protocol.parser_exc is not None or self.protocol.close_rcvd is not None:
            self.transport.close()  # nothing more that counts can come: do not wait for the peer
