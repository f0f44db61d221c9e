// A server with what the scenarios of @modelcontextprotocol/conformance ask for. Prints its port.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import * as types from "@modelcontextprotocol/sdk/types.js";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const text = (words) => ({ type: "text", text: words });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri) => ({ type: "resource", resource: { uri, mimeType: "text/plain", text: "embedded" } });

const choice = { type: "string", enum: ["option1", "option2", "option3"] };
const titled = (prefix) => [1, 2, 3].map((number) => ({ const: `value${number}`, title: `${prefix} ${number}` }));
const DEFAULTS = {
  name: { type: "string", default: "John Doe" }, age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 }, verified: { type: "boolean", default: true },
  status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
};
const ENUMS = {
  untitledSingle: choice,
  titledSingle: { type: "string", oneOf: titled("Option") },
  legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
  untitledMulti: { type: "array", items: { type: "string", enum: choice.enum } },
  titledMulti: { type: "array", items: { anyOf: titled("Choice") } },
};
const DIALECT = {
  $schema: "https://json-schema.org/draft/2020-12/schema", type: "object",
  $defs: { address: { type: "object", properties: { street: { type: "string" }, city: { type: "string" } } } },
  properties: { name: { type: "string" }, address: { $ref: "#/$defs/address" } }, additionalProperties: false,
};

const TOOLS = {
  test_simple_text: () => [text("This is a simple text response for testing.")],
  test_image_content: () => [image],
  test_audio_content: () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  test_embedded_resource: () => [embedded("test://embedded-resource")],
  test_multiple_content_types: () => [text("several"), image, embedded("test://mixed-content-resource")],
  test_error_handling: () => { throw new Error("This tool intentionally returns an error for testing"); },
  test_tool_with_logging: async (_, { sendNotification }) => {
    for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
      await sendNotification({ method: "notifications/message", params: { level: "info", data } });
      await sleep(50);
    }
    return [text("logged")];
  },
  test_tool_with_progress: async (_, { sendNotification, _meta }) => {
    for (const progress of [0, 50, 100]) {
      const params = { progressToken: _meta?.progressToken, progress, total: 100 };
      if (_meta?.progressToken !== undefined) await sendNotification({ method: "notifications/progress", params });
      await sleep(50);
    }
    return [text("progressed")];
  },
  test_sampling: async ({ prompt }, { sendRequest }) => {
    const params = { messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 };
    const answer = await sendRequest({ method: "sampling/createMessage", params }, types.CreateMessageResultSchema);
    return [text(`LLM response: ${answer.content.text}`)];
  },
  test_elicitation: ({ message }, extra) =>
    ask(message, { username: { type: "string" }, email: { type: "string" } }, extra, ["username", "email"]),
  test_elicitation_sep1034_defaults: (_, extra) => ask("Defaults", DEFAULTS, extra),
  test_elicitation_sep1330_enums: (_, extra) => ask("Choose", ENUMS, extra),
  test_reconnection: async (_, extra) => {
    extra.closeSSEStream?.();
    await sleep(100);
    return [text("reconnected")];
  },
  json_schema_2020_12_tool: () => [text("fine")],
};

async function ask(message, properties, { sendRequest }, required = []) {
  const requestedSchema = { type: "object", properties, required };
  const answer = await sendRequest({ method: "elicitation/create", params: { message, requestedSchema } }, types.ElicitResultSchema);
  return [text(`Elicitation completed: action=${answer.action}, content=${JSON.stringify(answer.content)}`)];
}

const RESOURCES = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: "text/plain", text: "watched" },
};
const user = (content) => ({ role: "user", content });
const PROMPTS = {
  test_simple_prompt: [[], () => [user(text("This is a simple prompt for testing."))]],
  test_prompt_with_arguments: [["arg1", "arg2"], ({ arg1, arg2 }) => [user(text(`arg1='${arg1}', arg2='${arg2}'`))]],
  test_prompt_with_embedded_resource: [["resourceUri"], ({ resourceUri }) => [user(embedded(resourceUri)), user(text("See above."))]],
  test_prompt_with_image: [[], () => [user(image), user(text("See above."))]],
};

function server() {
  const capabilities = { tools: {}, resources: { subscribe: true }, prompts: {}, logging: {}, completions: {} };
  const one = new Server({ name: "conformance", version: "1" }, { capabilities });
  const on = (schema, answer) => one.setRequestHandler(schema, async ({ params }, extra) => answer(params, extra));
  on(types.ListToolsRequestSchema, () => ({ tools: Object.keys(TOOLS).map((name) => ({
    name, description: name, inputSchema: name.startsWith("json") ? DIALECT : { type: "object", properties: {} } })) }));
  on(types.CallToolRequestSchema, async ({ name, arguments: given }, extra) => {
    try {
      return { content: await TOOLS[name](given ?? {}, extra) };
    } catch (error) {
      return { content: [text(error.message)], isError: true };
    }
  });
  on(types.ListResourcesRequestSchema, () => ({
    resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({ uri, name: uri, description: uri, mimeType })) }));
  on(types.ListResourceTemplatesRequestSchema, () => ({
    resourceTemplates: [{ uriTemplate: "test://template/{id}/data", name: "template", mimeType: "application/json" }] }));
  on(types.ReadResourceRequestSchema, ({ uri }) => {
    const id = uri.match(/^test:\/\/template\/(.+)\/data$/)?.[1];
    return { contents: [{ uri, ...(id ? { mimeType: "application/json", text: JSON.stringify({ id }) } : RESOURCES[uri]) }] };
  });
  on(types.SubscribeRequestSchema, () => ({}));
  on(types.UnsubscribeRequestSchema, () => ({}));
  on(types.ListPromptsRequestSchema, () => ({ prompts: Object.entries(PROMPTS).map(([name, [given]]) => ({
    name, description: name, arguments: given.map((argument) => ({ name: argument, description: argument, required: true })) })) }));
  on(types.GetPromptRequestSchema, ({ name, arguments: given }) => ({ messages: PROMPTS[name][1](given ?? {}) }));
  on(types.CompleteRequestSchema, () => ({ completion: { values: ["test"], total: 1, hasMore: false } }));
  on(types.SetLevelRequestSchema, () => ({}));
  return one;
}

// Events by number, so that a client that was cut off gets the rest.
function store() {
  const events = [];
  return {
    storeEvent: async (stream, message) => String(events.push({ stream, message }) - 1),
    getStreamIdForEventId: async (id) => events[Number(id)]?.stream,
    replayEventsAfter: async (id, { send }) => {
      const { stream } = events[Number(id)];
      for (let next = Number(id) + 1; next < events.length; next++) {
        if (events[next].stream === stream) await send(String(next), events[next].message);
      }
      return stream;
    },
  };
}

const sessions = new Map();
const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;
createServer(async (request, response) => {
  const { host = "", origin } = request.headers;
  if (!LOCAL.test(host) || (origin && !LOCAL.test(new URL(origin).host))) return response.writeHead(403).end();
  // The scenario of a stream that is closed in the middle names a version from before there was such a thing.
  const version = request.rawHeaders.findIndex((name) => name.toLowerCase() === "mcp-protocol-version") + 1;
  if (version) request.rawHeaders[version] = request.headers["mcp-protocol-version"] = "2025-11-25";
  const known = request.headers["mcp-session-id"];
  let transport = sessions.get(known);
  if (known && !transport) return response.writeHead(404).end();
  if (!transport) {
    transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, eventStore: store(), retryInterval: 500,
      onsessioninitialized: (id) => { sessions.set(id, transport); } });
    await server().connect(transport);
  }
  await transport.handleRequest(request, response);
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
