"""http_client.py URL: what the Python SDK's client sees of a server, as JSON."""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(url):
    seen = {}
    async with streamable_http_client(url) as (read, write, *_), ClientSession(read, write) as session:
        await session.initialize()
        seen["tools"] = sorted(tool.name for tool in (await session.list_tools()).tools)
        for name, arguments in [("echo", {"message": "hello"}), ("echo", {"message": "secret"}), ("get-sum", {"a": 2, "b": 3})]:
            result = await session.call_tool(name, arguments)
            dumped = result.model_dump(by_alias=True)
            seen[f"{name} {json.dumps(arguments)}"] = [dumped.get("isError"), [part.get("text") for part in dumped["content"]]]
        seen["resources"] = len((await session.list_resources()).resources)
        seen["prompts"] = sorted(prompt.name for prompt in (await session.list_prompts()).prompts)
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
