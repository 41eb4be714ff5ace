// OpenAI's Node SDK and the Vercel AI SDK, unchanged but for the base URL.
import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText, tool } from "ai";
import OpenAI, { RateLimitError } from "openai";
import { z } from "zod";

const baseURL = process.env.POINTSMAN_BASE_URL;
const client = new OpenAI({ baseURL, apiKey: "unused", maxRetries: 0 });
const provider = createOpenAICompatible({ name: "pointsman", baseURL, apiKey: "unused", includeUsage: true });
const ask = (content) => [{ role: "user", content }];

for (const model of ["auto", "mock-a", "mock-b"]) {
  test(`openai: chat with ${model}`, async () => {
    const answer = await client.chat.completions.create({ model, messages: ask("Set the points from Node.") });
    assert.ok(answer.choices[0].message.content);
    assert.ok(answer.usage.completion_tokens > 0);
  });

  test(`openai: stream with usage from ${model}`, async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: ask("Stream the points to Node."),
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.ok(text);
    assert.ok(usage.completion_tokens > 0);
  });
}

test("openai: the 429 class with its retry-after", async () => {
  await assert.rejects(
    client.chat.completions.create({ model: "mock-limited", messages: ask("too many from Node") }),
    (error) => error instanceof RateLimitError && Number(error.headers.get("retry-after")) >= 1,
  );
});

test("openai: models and embeddings", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("auto"));
  const answer = await client.embeddings.create({ model: "local/all-MiniLM-L6-v2", input: "points" });
  assert.equal(answer.data[0].embedding.length, 384);
});

test("ai sdk: generateText", async () => {
  const { text, usage, finishReason } = await generateText({ model: provider("auto"), prompt: "Set the points." });
  assert.ok(text);
  assert.equal(finishReason, "stop");
  assert.ok(usage.outputTokens > 0);
});

test("ai sdk: streamText", async () => {
  const result = streamText({ model: provider("auto"), prompt: "Set the points, streamed." });
  let text = "";
  for await (const part of result.textStream) text += part;
  assert.ok(text);
  assert.ok((await result.usage).outputTokens > 0);
});

test("ai sdk: tools", async () => {
  const { toolCalls } = await generateText({
    model: provider("mock-a"),
    prompt: "What is the weather in Prague and Brno?",
    tools: { get_weather: tool({ description: "Current weather", inputSchema: z.object({ city: z.string() }) }) },
  });
  assert.deepEqual(toolCalls.map((call) => call.input.city), ["Prague", "Brno"]);
});
