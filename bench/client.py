"""Two other clients: `python -m bench.client naive|bare PORT PAIRS SECONDS FOLDER`. Prints messages per second.

`naive` is a first version of a recorder, `bare` receives and forgets: nobody who uses websockets' own loop is faster.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from websockets.asyncio.client import connect

from bench import market
from stream.exchanges import binance


def write_line(folder: Path, text: str | bytes) -> None:
    """json.loads, a dict, json.dumps, and a file that is opened and flushed for the one line."""
    kline = json.loads(text)["data"]["k"]
    line = {
        "exchange": "binance",
        "symbol": kline["s"],
        "recv_ts": datetime.now(UTC).isoformat(),
        "interval_start": datetime.fromtimestamp(kline["t"] / 1000, UTC).isoformat(),
        "is_final": kline["x"],
        "trade_count": kline["n"],
        **{name: float(kline[name[0]]) for name in ("open", "high", "low", "close", "volume", "quote_volume")},
        "payload": json.dumps(kline),
    }
    with (folder / f"{kline['s']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()


async def main(kind: str, port: int, pairs: int, seconds: float, folder: Path) -> None:
    """Receives for so long."""
    natives = [binance.native_symbol(pair) for pair in market.symbols(pairs)]
    async with connect(
        f"ws://127.0.0.1:{port}/stream", compression=None, ping_interval=None, close_timeout=1
    ) as socket:
        await socket.send(binance.subscribe(natives, 1))
        await socket.recv()
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            text = await socket.recv()
            if kind == "naive":
                write_line(folder, text)
            count += 1
        sys.stdout.write(f"{count / (time.perf_counter() - begun):.1f}\n")
        sys.stdout.flush()
        socket.transport.abort()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5])))
