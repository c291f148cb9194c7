// Makes every call below with openai-node and prints what came of each, as one JSON object.
// Usage: BASE_URL=… API_KEY=… node calls.mjs path/to/openai/index.mjs
import { pathToFileURL } from "node:url";

const { default: OpenAI } = await import(pathToFileURL(process.argv[2]));

const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: process.env.API_KEY,
  maxRetries: 0,
  timeout: 10_000,
});
const messages = [{ role: "user", content: "Say this is a test" }];
const chat = (model, more, options) =>
  client.chat.completions.create({ model, messages, ...more }, options);

async function all(stream) {
  const found = [];
  for await (const item of stream) found.push(item);
  return found;
}

async function broken(stream) {
  let seen = 0;
  try {
    for await (const _ of stream) seen += 1;
  } catch (error) {
    return { seen, ...told(error) };
  }
  return { seen };
}

const calls = {
  chat: () => chat("gpt-test"),
  streamedChat: async () => all(await chat("gpt-test", { stream: true })),
  streamedChatWithUsage: async () =>
    all(await chat("gpt-test", { stream: true, stream_options: { include_usage: true } })),
  chatHelper: () =>
    client.chat.completions.stream({ model: "gpt-test", messages, n: 2 }).finalChatCompletion(),
  response: () => client.responses.create({ model: "gpt-test", input: "Say hello" }),
  streamedResponse: async () =>
    all(await client.responses.create({ model: "gpt-test", input: "Say hello", stream: true })),
  responseHelper: () =>
    client.responses.stream({ model: "gpt-test", input: "Say hello" }).finalResponse(),
  carelessResponseHelper: () =>
    client.responses.stream({ model: "mock-careless", input: "Say hello" }).finalResponse(),
  embeddings: () => client.embeddings.create({ model: "gpt-test", input: ["one", "two"] }),
  floatEmbeddings: () =>
    client.embeddings.create({ model: "gpt-test", input: ["one", "two"], encoding_format: "float" }),
  models: () => all(client.models.list()),
  model: () => client.models.retrieve("team/llm-a"),
  headers: async () => {
    const { response, request_id } = await chat("gpt-test").withResponse();
    return { request_id, upstream: response.headers.get("x-gateway-upstream") };
  },

  invalidType: () => client.chat.completions.create({ model: "gpt-test", messages: "hi" }),
  wrongKey: () => client.withOptions({ apiKey: "sk-wrong" }).models.list(),
  unknownModel: () => chat("nope"),
  unknownURL: () => client.fineTuning.jobs.list(),
  wrongMethod: () => client.post("/models", { body: {} }),
  conflict: () => chat("mock-409"),
  tooLarge: () => client.embeddings.create({ model: "gpt-test", input: "a".repeat(1_100_000) }),
  unprocessable: () => chat("mock-422"),
  limited: () => chat("mock-429"),
  badGateway: () => chat("mock-500-html"),
  unavailable: () => chat("mock-503"),
  timeout: () => chat("mock-hang", { stream: true }),

  cutChat: async () => broken(await chat("mock-cut-after-3", { stream: true })),
  cutResponse: async () =>
    all(
      await client.responses.create({ model: "mock-cut-after-5", input: "a", stream: true }),
    ),
  retried: () => chat("mock-502", {}, { maxRetries: 2 }),
  notRetried: () => chat("mock-418", {}, { maxRetries: 2 }),
};

function told(error) {
  const { status, code, param, type, requestID, message } = error;
  return { raised: error.constructor.name, status, code, param, type, requestID, message };
}

const found = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    found[name] = await call();
  } catch (error) {
    found[name] = told(error);
  }
}
console.log(JSON.stringify(found));
