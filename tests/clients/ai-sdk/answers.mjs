// The AI SDK's own provider for OpenAI, which speaks responses.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { check, KEY, numAborted, question, SCRIPT, waitFor, WEATHER } from "./checks.mjs";

const provider = createOpenAI({ baseURL: `${SCRIPT}/v1`, apiKey: KEY });

// An agent with a tool that remembers what it was asked.
const agent = (name, asked = [], options = {}) => ({
  model: provider("script"),
  prompt: question(name),
  maxRetries: 0,
  tools: {
    get_weather: tool({
      description: "The weather of a city",
      inputSchema: jsonSchema(WEATHER),
      execute: async (input) => (asked.push(input), "21 °C"),
    }),
  },
  stopWhen: isStepCount(5),
  ...options,
});

check("Responses: `generateText` calls the tool and goes on to the answer", async () => {
  const asked = [];
  const { text, steps } = await generateText(agent("weather", asked));
  assert.equal(text, "It is 21 °C in Zürich.");
  assert.deepEqual(asked, [{ city: "Zürich", days: 2 }]);
  assert.deepEqual(steps.map(({ finishReason }) => finishReason), ["tool-calls", "stop"]);
});

check("Responses: a loop of two calls, one after the other, ends with the answer, whole and streamed", async () => {
  const asked = [];
  assert.equal((await generateText(agent("trip", asked))).text, "Zürich is warmer.");
  const streamed = streamText(agent("trip", asked));
  assert.equal(await streamed.text, "Zürich is warmer.");
  assert.deepEqual((await streamed.steps).map(({ finishReason }) => finishReason), ["tool-calls", "tool-calls", "stop"]);
  assert.deepEqual(asked.map(({ city }) => city), ["Zürich", "Oslo", "Zürich", "Oslo"]);
});

check("Responses: `streamText` streams the input of the tool and a summary of the thought", async () => {
  const asked = [];
  const providerOptions = { openai: { reasoningSummary: "auto", forceReasoning: true } };
  const result = streamText(agent("weather", asked, { providerOptions }));
  const parts = [];
  for await (const part of result.stream ?? result.fullStream) parts.push(part);
  const kinds = new Set(parts.map(({ type }) => type));
  for (const kind of ["reasoning-delta", "text-delta", "tool-input-delta", "tool-result"]) assert.ok(kinds.has(kind), kind);
  assert.ok(!kinds.has("error"), JSON.stringify(parts.find(({ type }) => type === "error")));
  assert.equal(await result.text, "It is 21 °C in Zürich.");
  assert.deepEqual(asked, [{ city: "Zürich", days: 2 }]);
});

check("Responses: `generateObject` holds the answer to a schema", async () => {
  const properties = { city: { type: "string" }, celsius: { type: "integer" } };
  const schema = { type: "object", properties, required: ["city", "celsius"], additionalProperties: false };
  const { object } = await generateObject({
    model: provider("script"),
    schema: jsonSchema(schema),
    prompt: question("report"),
    maxRetries: 0,
  });
  assert.deepEqual(object, { city: "Zürich", celsius: 21 });
});

check("Responses: an answer that fails is no success, and one that is left is not generated on", async () => {
  const errors = [];
  const failed = streamText({ model: provider("script"), prompt: "error later", maxRetries: 0, onError: ({ error }) => errors.push(error) });
  const parts = [];
  for await (const part of failed.stream ?? failed.fullStream) parts.push(part);
  const reason = parts.find(({ type }) => type === "finish")?.finishReason;
  assert.ok(errors.length || reason !== "stop", JSON.stringify(parts));
  const aborted = await numAborted(SCRIPT);
  const left = new AbortController();
  const hanging = streamText({ model: provider("script"), prompt: "hang", maxRetries: 0, abortSignal: left.signal });
  for await (const { type } of hanging.stream ?? hanging.fullStream) if (type === "text-delta") left.abort();
  await waitFor(() => numAborted(SCRIPT), aborted + 1);
});
