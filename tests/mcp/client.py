"""A client that speaks to `authz mcp` line by line, so that it can say what no library would."""

import json
import queue
import subprocess
import threading

MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
          "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
          "io.modelcontextprotocol/clientCapabilities": {}}
PATIENCE = 60


class Gate:
    """`authz mcp` with a server behind it; `argv` is the whole command."""

    def __init__(self, argv, env=None, cwd=None):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, errors="replace", env=env, cwd=cwd)
        self.lines, self.errors, self.kept, self.last = queue.Queue(), [], [], 0
        self.readers = [threading.Thread(target=self.read, daemon=True),
                        threading.Thread(target=self.read_errors, daemon=True)]
        for reader in self.readers:
            reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def read_errors(self):
        self.errors.extend(self.process.stderr)

    def send(self, line):
        """One line, as it is."""
        self.process.stdin.write(line if isinstance(line, str) else json.dumps(line))
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def receive(self, fits):
        """The next message that fits; others are kept for later."""
        for index, message in enumerate(self.kept):
            if fits(message):
                return self.kept.pop(index)
        while (line := self.lines.get(timeout=PATIENCE)) is not None:
            message = json.loads(line)
            if fits(message):
                return message
            self.kept.append(message)
        raise EOFError("authz mcp has closed its output: " + "".join(self.errors))

    def request(self, method, params=None):
        """Sends a request; its id."""
        self.last += 1
        message = {"jsonrpc": "2.0", "id": self.last, "method": method}
        self.send(message if params is None else {**message, "params": params})
        return self.last

    def answer(self, number):
        return self.receive(lambda message: message.get("id") == number and "method" not in message)

    def ask(self, method, params=None):
        """A request and its answer."""
        return self.answer(self.request(method, params))

    def call(self, name, meta=None, **arguments):
        """A tool call and its result."""
        params = {"name": name, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return self.ask("tools/call", params).get("result")

    def hello(self, capabilities=None):
        """The older kind of beginning."""
        params = {"protocolVersion": "2025-06-18", "capabilities": capabilities or {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = self.ask("initialize", params)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer

    def close(self, timeout=60):
        """Closes its input and waits; status and what it said on standard error."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        status = self.process.wait(timeout)
        for reader in self.readers:
            reader.join(timeout)
        return status, "".join(self.errors)


def words(result):
    """All text of a result."""
    return "\n".join(item["text"] for item in result["content"] if item["type"] == "text")
