#!/usr/bin/python3
"""tests/bench/delay.py PORT TO_PORT MS - a long line: all octets arrive MS later, each way."""

import asyncio
import sys


async def pump(reader, writer, delay_s):
    loop = asyncio.get_running_loop()
    while octets := await reader.read(1 << 18):
        loop.call_later(delay_s, lambda o=octets: writer.is_closing() or writer.write(o))
    loop.call_later(delay_s, writer.close)


async def main(port, to_port, delay_s):
    async def session(reader, writer):
        await asyncio.sleep(delay_s)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        await asyncio.gather(pump(reader, far_writer, delay_s), pump(far_reader, writer, delay_s),
                             return_exceptions=True)

    server = await asyncio.start_server(session, "127.0.0.1", port, limit=1 << 20)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
