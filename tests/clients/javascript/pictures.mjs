// One picture through each SDK, with its base URL changed and nothing else.
import { readFile } from "node:fs/promises";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { generateText, streamText } from "ai";
import OpenAI from "openai";
import { collect, report } from "./report.mjs";

const [baseURL, model, file, words] = process.argv.slice(2);
const bytes = await readFile(file);
const data = bytes.toString("base64");
const url = `data:image/png;base64,${data}`;
const limits = { temperature: 0, max_tokens: 12 };

const openai = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey: "any", maxRetries: 0 });
const chat = {
  model,
  ...limits,
  messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }, { type: "text", text: words }] }],
};
const whole = await openai.chat.completions.create(chat);
const chunks = await collect(
  await openai.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } }),
);
const response = await openai.responses.create({
  model,
  temperature: 0,
  max_output_tokens: 12,
  input: [
    {
      role: "user",
      content: [
        { type: "input_image", image_url: url, detail: "auto" },
        { type: "input_text", text: words },
      ],
    },
  ],
});

const anthropic = new Anthropic({ baseURL, apiKey: "any", maxRetries: 0 });
const turns = [
  {
    role: "user",
    content: [
      { type: "image", source: { type: "base64", media_type: "image/png", data } },
      { type: "text", text: words },
    ],
  },
];
const message = await anthropic.messages.create({ model, ...limits, messages: turns });
const final = await anthropic.messages.stream({ model, ...limits, messages: turns }).finalMessage();
const counted = await anthropic.messages.countTokens({ model, messages: turns });

const compatible = createOpenAICompatible({ name: "allod", baseURL: `${baseURL}/v1`, apiKey: "any", includeUsage: true });
const responses = createOpenAI({ baseURL: `${baseURL}/v1`, apiKey: "any" });
const asked = {
  messages: [
    {
      role: "user",
      content: [
        { type: "file", data: new Uint8Array(bytes), mediaType: "image/png" },
        { type: "text", text: words },
      ],
    },
  ],
  temperature: 0,
  maxOutputTokens: 12,
  maxRetries: 0,
};
const vercel = await generateText({ ...asked, model: compatible(model) });
const streaming = streamText({ ...asked, model: compatible(model) });
const streamed = (await collect(streaming.textStream)).join("");
const overResponses = await generateText({ ...asked, model: responses.responses(model) });

const text = (answer) => answer.content.map((block) => block.text).join("");
report({
  openai: [
    whole.choices[0].message.content,
    chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join(""),
    response.output_text,
  ],
  anthropic: [text(message), text(final)],
  vercel: [vercel.text, streamed, overResponses.text],
  tokens: [
    whole.usage.prompt_tokens,
    chunks.at(-1).usage.prompt_tokens,
    response.usage.input_tokens,
    message.usage.input_tokens + message.usage.cache_read_input_tokens,
    final.usage.input_tokens + final.usage.cache_read_input_tokens,
    counted.input_tokens,
    vercel.usage.inputTokens,
    (await streaming.usage).inputTokens,
    overResponses.usage.inputTokens,
  ],
});
