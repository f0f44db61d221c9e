"""A model's API on loopback, as far as Claude Code, Codex and Gemini CLI use it: it calls one tool after the other and then
ends. What the agents sent is kept, so that a test can tell what the model was told."""

import http.server
import json
import threading


class Model(http.server.ThreadingHTTPServer):
    """`steps`: the tool calls in order, each (tool, arguments). The next one is told by how many results a request has."""

    daemon_threads = True

    def __init__(self, steps):
        super().__init__(("127.0.0.1", 0), Handler)
        self.steps, self.requests, self.strange = steps, [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def results(self):
        """The text of each tool's result, from the last request that has them."""
        every = [found for _, found in self.requests]
        return max(every, key=len, default=[])

    def next(self, body, results):
        """The next call, or none when it is done or no tools are offered."""
        self.requests.append((body, results))
        return self.steps[len(results)] if len(results) < len(self.steps) else None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.reply(200, "application/json", b"")

    def do_GET(self):
        self.reply(404, "application/json", b"{}")

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            body = {}
        path = self.path.split("?")[0]
        if path.endswith("/v1/messages"):
            self.say_messages(body)
        elif path.endswith("/responses"):
            self.say_responses(body)
        elif ":streamGenerateContent" in path or ":generateContent" in path:
            self.say_generate(body, ":stream" in path)
        elif path.endswith("count_tokens") or path.endswith(":countTokens"):
            self.reply(200, "application/json", b'{"input_tokens": 10, "totalTokens": 10}')
        else:
            self.server.strange.append(self.path)
            self.reply(404, "application/json", b"{}")

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self, events, named=True):
        lines = [(f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n" for event in events]
        self.reply(200, "text/event-stream", "".join(lines).encode())

    def say_messages(self, body):
        """Anthropic's Messages, always as events."""
        blocks = [block for message in body.get("messages", []) if isinstance(message["content"], list)
                  for block in message["content"]]
        results = [json.dumps(block) for block in blocks if block["type"] == "tool_result"]
        step = self.server.next(body, results) if body.get("tools") else None
        if step:
            tool, arguments = step
            block = {"type": "tool_use", "id": f"toolu_{len(results):02}", "name": tool, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        else:
            block, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": "Done."}
        message = {"id": f"msg_{len(results):02}", "type": "message", "role": "assistant", "model": body.get("model"),
                   "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        why = "tool_use" if step else "end_turn"
        if not body.get("stream"):
            message |= {"content": [{"type": "text", "text": "Done."}], "stop_reason": "end_turn"}
            return self.reply(200, "application/json", json.dumps(message).encode())
        self.events([{"type": "message_start", "message": message},
                     {"type": "content_block_start", "index": 0, "content_block": block},
                     {"type": "content_block_delta", "index": 0, "delta": delta},
                     {"type": "content_block_stop", "index": 0},
                     {"type": "message_delta", "delta": {"stop_reason": why, "stop_sequence": None}, "usage": {"output_tokens": 1}},
                     {"type": "message_stop"}])

    def say_responses(self, body):
        """OpenAI's Responses."""
        results = [json.dumps(item) for item in body.get("input", []) if item.get("type", "").endswith("_call_output")]
        step = self.server.next(body, results)
        number = len(results)
        if not step:
            item = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
        elif isinstance(step[1], str):
            item = {"type": "custom_tool_call", "id": f"c{number}", "call_id": f"call_{number}", "name": step[0], "input": step[1]}
        else:
            item = {"type": "function_call", "id": f"c{number}", "call_id": f"call_{number}", "name": step[0],
                    "arguments": json.dumps(step[1])}
        usage = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1, "output_tokens_details": None, "total_tokens": 2}
        self.events([{"type": "response.created", "response": {"id": f"r{number}"}},
                     {"type": "response.output_item.done", "output_index": 0, "item": item},
                     {"type": "response.completed", "response": {"id": f"r{number}", "usage": usage}}])

    def say_generate(self, body, stream):
        """Gemini's generateContent, whole or as events."""
        parts = [part for content in body.get("contents", []) for part in content.get("parts", [])]
        results = [json.dumps(part) for part in parts if "functionResponse" in part]
        step = self.server.next(body, results) if body.get("tools") else None
        part = {"functionCall": {"name": step[0], "args": step[1]}} if step else {"text": "Done."}
        answer = {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
                  "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}
        if stream:
            self.events([answer], named=False)
        else:
            self.reply(200, "application/json", json.dumps(answer).encode())
