// OpenAI's Agents SDK for JavaScript: its default model, which speaks responses, and the one for
// chat completions.

import assert from "node:assert/strict";
import {
  Agent,
  OpenAIChatCompletionsModel,
  OpenAIResponsesModel,
  run,
  setDefaultOpenAIClient,
  setTracingDisabled,
  tool,
} from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { check, KEY, numAborted, question, runChecks, SCRIPT, waitFor } from "./checks.mjs";

setTracingDisabled(true);
const client = new OpenAI({ baseURL: `${SCRIPT}/v1`, apiKey: KEY, maxRetries: 0 });
setDefaultOpenAIClient(client);
const parameters = z.object({ city: z.string(), days: z.number().int() });

// An agent with a tool that remembers the cities that it was asked about. A model given by name is
// one of the default kind.
const agent = (cities = [], options = {}) => {
  const execute = async ({ city, days }) => (cities.push(city), `21 °C for ${days} days`);
  const weather = tool({ name: "get_weather", description: "The weather of a city", parameters, execute });
  return new Agent({ name: "Assistant", instructions: "Be brief.", model: "script", tools: [weather], ...options });
};
const chat = { model: new OpenAIChatCompletionsModel(client, "script") };

// Runs an agent as a stream; what it told, by the types of the model's own events.
async function streamed(asked, input, options = {}) {
  const result = await run(asked, input, { stream: true, ...options });
  const kinds = [];
  for await (const event of result) {
    if (event.type === "raw_model_stream_event") kinds.push(event.data.event?.type ?? event.data.type);
  }
  await result.completed;
  return { result, kinds };
}

check("The model that a name stands for speaks responses", async () => {
  const spoken = [];
  const fetch = (url, init) => (spoken.push(new URL(url).pathname), globalThis.fetch(url, init));
  const model = new OpenAIResponsesModel(client.withOptions({ fetch }), "script");
  await run(agent([], { model }), question("thought"));
  setDefaultOpenAIClient(client.withOptions({ fetch }));
  await run(agent(), question("thought"));
  setDefaultOpenAIClient(client);
  assert.deepEqual(spoken, ["/v1/responses", "/v1/responses"]);
});

// The error of an answer that fails in the middle: for a response the SDK has no more than the name
// of the event.
const APIS = [
  ["Responses", {}, /response\.failed/],
  ["Chat", chat, /broke in a call/],
];

for (const [api, options, failure] of APIS) {
  check(`${api}: two calls, one after the other, are made and lead to the answer, whole and streamed`, async () => {
    const cities = [];
    const whole = await run(agent(cities, options), question("trip"));
    assert.equal(whole.finalOutput, "Zürich is warmer.");
    assert.deepEqual(cities, ["Zürich", "Oslo"]);
    const { requests, inputTokens, outputTokens } = whole.state.usage;
    assert.equal(requests, 3);
    assert.ok(inputTokens > 0 && outputTokens > 0);
    const { result, kinds } = await streamed(agent(cities, options), question("trip"));
    assert.equal(result.finalOutput, "Zürich is warmer.");
    assert.deepEqual(cities.slice(2), ["Zürich", "Oslo"]);
    assert.ok(kinds.includes("output_text_delta"), kinds);
    const items = result.newItems.map(({ type }) => type);
    assert.equal(items.filter((type) => type === "tool_call_item").length, 2);
    assert.equal(items.filter((type) => type === "tool_call_output_item").length, 2);
  });

  check(`${api}: two calls of one answer are both made, whole and streamed`, async () => {
    const cities = [];
    const whole = await run(agent(cities, options), question("cities"));
    const { result } = await streamed(agent(cities, options), question("cities"));
    for (const { finalOutput } of [whole, result]) assert.equal(finalOutput, "Zürich has 21 °C, Oslo has 4 °C.");
    assert.deepEqual(cities.sort(), ["Oslo", "Oslo", "Zürich", "Zürich"]);
  });

  check(`${api}: an output type holds the answer to a schema, whole and streamed`, async () => {
    const outputType = z.object({ city: z.string(), celsius: z.number() });
    const whole = await run(agent([], { ...options, outputType }), question("report"));
    const { result } = await streamed(agent([], { ...options, outputType }), question("report"));
    for (const { finalOutput } of [whole, result]) assert.deepEqual(finalOutput, { city: "Zürich", celsius: 21 });
  });

  check(`${api}: a tool that is not there is the model's error, and what looks like a call is text`, async () => {
    const error = await run(agent([], options), question("stranger")).then(() => assert.fail("taken"), (error) => error);
    assert.equal(error.name, "ModelBehaviorError");
    assert.match(error.message, /fly/);
    const { finalOutput } = await run(agent([], options), question("mention"));
    assert.equal(finalOutput, "A call begins with <tool_call> and goes on with JSON.");
  });

  check(`${api}: errors are the OpenAI SDK's classes, also in the middle of a stream`, async () => {
    const raised = (running) => running.then(() => assert.fail("taken"), (error) => error);
    assert.ok((await raised(run(agent([], options), "429"))) instanceof OpenAI.RateLimitError);
    const broken = await raised(streamed(agent([], options), question("broken")));
    assert.match(broken.message, failure);
  });

  check(`${api}: a run that is left is not generated on`, async () => {
    const aborted = await numAborted(SCRIPT);
    const left = new AbortController();
    const result = await run(agent([], options), "hang", { stream: true, signal: left.signal });
    const read = async () => {
      for await (const { data } of result) if (data?.type === "output_text_delta") left.abort();
    };
    await read().catch(() => {});
    await waitFor(() => numAborted(SCRIPT), aborted + 1);
  });
}

check("Responses: a stream tells the thought, the arguments and the text in their own events", async () => {
  const { kinds } = await streamed(agent(), question("weather"));
  for (const kind of ["reasoning_text.delta", "function_call_arguments.delta", "output_text.delta", "completed"]) {
    assert.ok(kinds.includes(`response.${kind}`), `${kind} is not among ${[...new Set(kinds)]}`);
  }
});

check("Responses: `previousResponseId` sends only what is new, and the server knows the rest", async () => {
  const { lastResponseId } = await run(agent(), question("thought"));
  const again = await run(agent(), question("trip"), { previousResponseId: lastResponseId });
  assert.equal(again.finalOutput, "Zürich is warmer.");
  assert.notEqual(again.lastResponseId, lastResponseId);
});

check("Responses: a model that is not there is refused", async () => {
  const error = await run(agent([], { model: "gpt-4" }), "Hello").then(() => assert.fail("taken"), (error) => error);
  assert.ok(error instanceof OpenAI.NotFoundError);
});

await runChecks();
