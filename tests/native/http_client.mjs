// http_client.mjs URL VERSION: the same as http_client.py, by the TypeScript SDK's client.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, version] = process.argv.slice(2);
const seen = {};
const client = new Client(
  { name: "test", version: "1" },
  { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode: { pin: version } } },
);
client.setRequestHandler("elicitation/create", async (request) => {
  seen.asked = request.params.message;
  return { action: "accept", content: {} };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
seen.protocol = client.getNegotiatedProtocolVersion();
seen.tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
const calls = [["echo", { message: "hello" }], ["echo", { message: "secret" }], ["echo", { message: "ask" }], ["get-sum", { a: 2, b: 3 }]];
for (const [name, args] of calls) {
  const result = await client.callTool({ name, arguments: args });
  const words = JSON.stringify(args).replaceAll(":", ": ").replaceAll(",", ", ");
  seen[`${name} ${words}`] = [Boolean(result.isError), result.content.map((part) => part.text ?? null)];
}
seen.resources = (await client.listResources()).resources.length;
seen.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name).sort();
console.log(JSON.stringify(seen));
await client.close();
