// A client as the scenarios of @modelcontextprotocol/conformance want one; its last argument is the server's URL. With GATE,
// a command line as JSON, it puts that in between: {URL} in it is replaced, and its first line says where it listens.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

let url = process.argv.at(-1);
let gate;
if (process.env.GATE) {
  const [program, ...args] = JSON.parse(process.env.GATE).map((word) => word.replace("{URL}", url));
  gate = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(gate.stdout, "data");
  url = JSON.parse(line).listening;
}
const client = new Client({ name: "conformance", version: "1" }, { capabilities: { elicitation: { form: { applyDefaults: true } } } });
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: {} }));
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
for (const tool of (await client.listTools()).tools) await client.callTool({ name: tool.name, arguments: { a: 5, b: 3 } });
await client.close();
gate?.kill();
