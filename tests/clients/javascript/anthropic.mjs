// The official Anthropic SDK, with its base URL changed and nothing else.
import Anthropic from "@anthropic-ai/sdk";
import { collect, report } from "./report.mjs";

const [baseURL, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const common = { model, messages, temperature: 0, max_tokens: 32 };
const tools = [
  {
    name: "weather",
    description: "Weather of a city",
    input_schema: {
      type: "object",
      properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
      required: ["city"],
      additionalProperties: false,
    },
  },
];

const whole = await client.messages.create(common);
const stream = client.messages.stream(common);
const final = await stream.finalMessage();
const events = await collect(await client.messages.create({ ...common, stream: true }));
const call = await client.messages.create({ ...common, max_tokens: 80, tools, tool_choice: { type: "any", disable_parallel_tool_use: true } });
const counted = await client.messages.countTokens({ model, messages });
const use = call.content.find((block) => block.type === "tool_use");
const after = await client.messages.create({
  ...common,
  tools,
  messages: [
    ...messages,
    { role: "assistant", content: call.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "Sunny" }] },
  ],
});
let unknown = null;
try {
  await client.messages.create({ ...common, model: "no-such-model" });
} catch (error) {
  unknown = { status: error.status, type: error.error?.error?.type, name: error.constructor.name };
}
const prompt = (usage) => usage.input_tokens + usage.cache_read_input_tokens; // read, and not read again
const words = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
report({
  whole: words(whole),
  streamed: words(final),
  usage: [prompt(whole.usage), prompt(final.usage), counted.input_tokens],
  output: [whole.usage.output_tokens, final.usage.output_tokens],
  eventTypes: events.map((event) => event.type),
  call: { reason: call.stop_reason, name: use.name, input: use.input, id: use.id },
  after: after.stop_reason,
  unknown,
});
