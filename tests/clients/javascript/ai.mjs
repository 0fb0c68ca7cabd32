// The Vercel AI SDK, over chat completions and over responses.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";
import { collect, report } from "./report.mjs";

const [baseURL, model] = process.argv.slice(2);
const compatible = createOpenAICompatible({
  name: "allod",
  baseURL: `${baseURL}/v1`,
  apiKey: "any",
  supportsStructuredOutputs: true,
  includeUsage: true,
});
const responses = createOpenAI({ baseURL: `${baseURL}/v1`, apiKey: "any" });
const prompt = "What is the capital of France?";
const common = { prompt, temperature: 0, maxOutputTokens: 32, maxRetries: 0 };
const tools = {
  weather: tool({
    description: "Weather of a city",
    inputSchema: z.object({ city: z.enum(["Paris", "Rome"]) }),
  }),
};

const whole = await generateText({ ...common, model: compatible(model) });
const streaming = streamText({ ...common, model: compatible(model) });
const streamed = (await collect(streaming.textStream)).join("");
const calling = {
  ...common,
  maxOutputTokens: 80,
  model: compatible(model),
  tools,
  toolChoice: { type: "tool", toolName: "weather" },
};
const streamingCall = streamText(calling);
const [call, parts] = await Promise.all([generateText(calling), collect(streamingCall.fullStream)]);
const made = await generateObject({
  ...common,
  maxOutputTokens: 120,
  model: compatible(model),
  schema: z.object({ city: z.string().max(12), sure: z.boolean() }),
});
const overResponses = await generateText({ ...common, model: responses.responses(model) });
report({
  whole: whole.text,
  streamed,
  usage: [whole.usage, await streaming.usage],
  calls: [call.toolCalls, parts.filter((part) => part.type === "tool-call")].map((calls) =>
    calls.map((one) => ({ name: one.toolName, input: one.input })),
  ),
  reasons: [call.finishReason, await streamingCall.finishReason],
  object: made.object,
  responses: overResponses.text,
});
