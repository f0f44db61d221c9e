"""http_client.py URL MODE: what the Python SDK's client sees of a server, as JSON. MODE is `legacy` or a version of the protocol."""

import asyncio
import json
import sys

from mcp import Client
from mcp.types import ElicitResult

CALLS = [("echo", {"message": "hello"}), ("echo", {"message": "secret"}), ("echo", {"message": "ask"}), ("get-sum", {"a": 2, "b": 3})]


async def main(url, mode):
    seen = {}

    async def shown(_, params):
        seen["asked"] = params.message
        return ElicitResult(action="accept", content={})

    async with Client(url, mode=mode, elicitation_callback=shown) as client:
        seen["protocol"] = client.protocol_version
        seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        for name, arguments in CALLS:
            result = await client.call_tool(name, arguments)
            seen[f"{name} {json.dumps(arguments)}"] = [bool(result.is_error), [getattr(part, "text", None) for part in result.content]]
        seen["resources"] = len((await client.list_resources()).resources)
        seen["prompts"] = sorted(prompt.name for prompt in (await client.list_prompts()).prompts)
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
