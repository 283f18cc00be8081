// Calls of tools and reasoning, as the AI SDK shows them to a chat page.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { check, KEY, question, SCRIPT, WEATHER } from "./checks.mjs";

const provider = createOpenAICompatible({ name: "streamcore", baseURL: `${SCRIPT}/v1`, apiKey: KEY, includeUsage: true });
const ZURICH = { city: "Zürich", days: 2 };

// A tool that remembers what it was asked.
function weather(asked = []) {
  const execute = async (input) => (asked.push(input), "21 °C");
  return tool({ description: "The weather of a city", inputSchema: jsonSchema(WEATHER), execute });
}

const agent = (name, options = {}) => ({
  model: provider("script"),
  prompt: question(name),
  maxRetries: 0,
  tools: { get_weather: weather(options.asked) },
  stopWhen: isStepCount(5),
});

check("`generateText` calls the tool and goes on to the answer, with the thought of each step", async () => {
  const asked = [];
  const { text, steps, finishReason } = await generateText(agent("weather", { asked }));
  assert.equal(text, "It is 21 °C in Zürich.");
  assert.equal(finishReason, "stop");
  assert.deepEqual(asked, [ZURICH]);
  assert.deepEqual(steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
  assert.equal(steps[0].reasoningText, "They ask about Zürich.");
  assert.equal(steps[0].text.trim(), "I look it up.");
  assert.equal(steps[0].toolResults[0].output, "21 °C");
  assert.ok(steps[0].usage.outputTokenDetails.reasoningTokens > 0);
});

check("`streamText` streams the input of the tool, calls it, and goes on to the answer", async () => {
  const asked = [];
  const result = streamText(agent("weather", { asked }));
  const parts = [];
  for await (const part of result.stream ?? result.fullStream) parts.push(part);
  const kinds = [...new Set(parts.map(({ type }) => type))];
  const order = ["reasoning-start", "reasoning-delta", "reasoning-end", "text-start", "text-delta", "tool-input-start"];
  assert.deepEqual(kinds.filter((kind) => order.includes(kind)), order);
  const pieces = parts.filter(({ type }) => type === "tool-input-delta").map(({ delta }) => delta);
  assert.ok(pieces.length > 3);
  assert.deepEqual(JSON.parse(pieces.join("")), ZURICH);
  assert.deepEqual(asked, [ZURICH]);
  assert.equal(await result.text, "It is 21 °C in Zürich.");
  assert.ok(!kinds.includes("error"));
});

check("Two calls of one answer are both made, streamed or not", async () => {
  for (const ask of [generateText, streamText]) {
    const asked = [];
    const result = await ask(agent("cities", { asked }));
    assert.equal(await result.text, "Zürich has 21 °C, Oslo has 4 °C.");
    assert.deepEqual(asked.map(({ city }) => city), ["Zürich", "Oslo"]);
  }
});

check("A call of a tool that is not there is handed back as an error, and the agent goes on", async () => {
  const { text, steps } = await generateText(agent("stranger"));
  assert.equal(text, "I cannot fly.");
  assert.equal(steps[0].toolCalls[0].toolName, "fly");
  assert.equal(steps[0].toolCalls[0].invalid, true);
});

check("What looks like a call and is none is text; a call that is cut ends with `length`", async () => {
  const mention = await generateText(agent("mention"));
  assert.equal(mention.text, "A call begins with <tool_call> and goes on with JSON.");
  assert.deepEqual(mention.toolCalls, []);
  const cut = await generateText(agent("short"));
  assert.equal(cut.finishReason, "length");
});

check("A stream that fails within a call gives its pieces, then the error", async () => {
  const errors = [];
  const onError = ({ error }) => void errors.push(error);
  const result = streamText({ ...agent("broken"), onError });
  const kinds = new Set();
  const reading = async () => {
    for await (const part of result.stream ?? result.fullStream) kinds.add(part.type);
  };
  await reading().catch((error) => errors.push(error));
  assert.ok(kinds.has("tool-input-delta"));
  assert.match(errors[0]?.message ?? JSON.stringify(errors[0]), /broke in a call/);
});
