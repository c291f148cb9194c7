// Uses the Responses API with openai-node and prints what came of each call, as one JSON object.
// Usage: BASE_URL=… API_KEY=… MODEL=… node responses.mjs path/to/openai/index.mjs
import { pathToFileURL } from "node:url";

const { default: OpenAI } = await import(pathToFileURL(process.argv[2]));

const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: process.env.API_KEY,
  maxRetries: 0,
  timeout: 30_000,
});
const model = process.env.MODEL;
const input = "Say hello";
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tools = ["get_weather", "get_time"].map((name) => ({
  type: "function",
  name,
  parameters,
  strict: true,
}));
const format = {
  type: "json_schema",
  name: "place",
  strict: true,
  schema: parameters,
};

async function all(stream) {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
}

// Calls every tool that is asked for until the model has said something.
async function loop(ask) {
  const turns = [{ role: "user", content: "How is Paris?" }];
  for (let turn = 0; turn < 5; turn += 1) {
    const response = await ask({ model, input: turns, tools });
    const asked = response.output.filter((item) => item.type === "function_call");
    if (!asked.length) return { text: response.output_text, turns: turn + 1 };
    turns.push(...response.output);
    for (const { call_id, name, arguments: given } of asked)
      turns.push({ type: "function_call_output", call_id, output: `${name} of ${given}` });
  }
}

const calls = {
  create: () => client.responses.create({ model, input }),
  streamed: async () => all(await client.responses.create({ model, input, stream: true })),
  helper: () => client.responses.stream({ model, input }).finalResponse(),
  parsed: () => client.responses.parse({ model, input: "Where is it?", text: { format } }),
  loop: () => loop((body) => client.responses.create(body)),
  streamedLoop: () => loop((body) => client.responses.stream(body).finalResponse()),
  refused: () => client.responses.create({ model, input, tools: [{ type: "web_search" }] }),
};

const found = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    found[name] = await call();
  } catch (error) {
    const { status, code, param, message } = error;
    found[name] = { raised: error.constructor.name, status, code, param, message };
  }
}
console.log(JSON.stringify(found));
