// The official OpenAI SDK, with its base URL changed and nothing else.
import OpenAI from "openai";
import { collect, report } from "./report.mjs";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "Weather of a city",
      parameters: {
        type: "object",
        properties: { city: { type: "string", enum: ["Paris", "Rome"] } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
];
const common = { model, messages, temperature: 0, max_tokens: 32 };

const whole = await client.chat.completions.create(common);
const stream = await client.chat.completions.create({
  ...common,
  stream: true,
  stream_options: { include_usage: true },
});
const chunks = await collect(stream);
const calling = { ...common, max_tokens: 80, tools, tool_choice: "required", parallel_tool_calls: false };
const [call, streamedCall] = await Promise.all([
  client.chat.completions.create(calling),
  client.chat.completions.stream(calling).finalChatCompletion(),
]);
const parsed = await client.chat.completions.parse({
  ...common,
  max_tokens: 120,
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "answer",
      strict: true,
      schema: {
        type: "object",
        properties: { city: { type: "string", maxLength: 12 }, sure: { type: "boolean" } },
        required: ["city", "sure"],
        additionalProperties: false,
      },
    },
  },
});
const response = await client.responses.create({ model, input: "Say hi.", temperature: 0, max_output_tokens: 16 });
const events = await collect(
  await client.responses.create({ model, input: "Say hi.", temperature: 0, max_output_tokens: 16, stream: true }),
);
const next = await client.responses.create({
  model,
  input: "Again.",
  previous_response_id: response.id,
  temperature: 0,
  max_output_tokens: 16,
});
const completion = await client.completions.create({ model, prompt: ["One", "Two"], max_tokens: 4, temperature: 0 });
const models = await client.models.list();
let unknown = null;
try {
  await client.chat.completions.create({ ...common, model: "no-such-model" });
} catch (error) {
  unknown = { status: error.status, code: error.code, name: error.constructor.name };
}
report({
  whole: whole.choices[0].message.content,
  streamed: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
  usage: [whole.usage, chunks.at(-1).usage],
  calls: [call, streamedCall].map((answer) => ({
    reason: answer.choices[0].finish_reason,
    name: answer.choices[0].message.tool_calls[0].function.name,
    arguments: JSON.parse(answer.choices[0].message.tool_calls[0].function.arguments),
  })),
  parsed: parsed.choices[0].message.parsed,
  response: [response.output_text, events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join("")],
  eventTypes: events.map((event) => event.type),
  chained: next.previous_response_id === response.id,
  completions: completion.choices.map((choice) => choice.index),
  models: models.data.map((one) => one.id),
  unknown,
});
