"""http_server.py PORT: a server by the Python SDK, which speaks 2026-07-28 and what was before it."""

import sys

from mcp.server import MCPServer

server = MCPServer("small")


@server.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@server.tool(name="get-sum")
def get_sum(a: float, b: float) -> str:
    return f"The sum is {a + b:g}."


@server.prompt()
def greeting() -> str:
    return "Hello."


@server.resource("note://one")
def note() -> str:
    return "a note"


server.run("streamable-http", port=int(sys.argv[1]))
