// Calls of tools and reasoning, as the OpenAI SDK for Node shows them to an agent.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { check, KEY, question, SCRIPT, WEATHER, WEATHER_TOOL } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${SCRIPT}/v1`, apiKey: KEY, maxRetries: 0 });
const ZURICH = { city: "Zürich", days: 2 };
const asked = (name) => ({
  model: "script",
  messages: [{ role: "user", content: question(name) }],
  tools: [WEATHER_TOOL],
});

check("A whole answer has its call, the text before it, the thought, and the end that says so", async () => {
  const { choices, usage } = await client.chat.completions.create(asked("weather"));
  const { message, finish_reason } = choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.match(message.tool_calls[0].id, /^call_/);
  assert.equal(message.tool_calls[0].function.name, "get_weather");
  assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), ZURICH);
  assert.equal(message.content.trim(), "I look it up.");
  assert.equal(message.reasoning_content, "They ask about Zürich.");
  assert.ok(usage.completion_tokens_details.reasoning_tokens > 0);
});

// The SDK's own loop: `runTools` calls the functions and asks again until the answer has no call.
const run = (name, options) => {
  const cities = [];
  const parameters = WEATHER;
  const look = ({ city }) => (cities.push(city), "21 °C");
  const tool = { name: "get_weather", description: "The weather", parameters, parse: JSON.parse, function: look };
  const runner = client.chat.completions.runTools({
    ...asked(name),
    ...options,
    tools: [{ type: "function", function: tool }],
  });
  return { runner, cities };
};

check("`runTools` calls the function and ends with the answer, streamed or not", async () => {
  for (const options of [{}, { stream: true }]) {
    const { runner, cities } = run("weather", options);
    assert.equal(await runner.finalContent(), "It is 21 °C in Zürich.");
    assert.deepEqual(cities, ["Zürich"]);
    assert.deepEqual(runner.messages.map(({ role }) => role), ["user", "assistant", "tool", "assistant"]);
  }
});

check("`runTools` calls the functions of two calls of one answer, in order", async () => {
  for (const options of [{}, { stream: true }]) {
    const { runner, cities } = run("cities", options);
    assert.equal(await runner.finalContent(), "Zürich has 21 °C, Oslo has 4 °C.");
    assert.deepEqual(cities, ["Zürich", "Oslo"]);
  }
});

check("`.stream()` tells each piece of the arguments, and gathers the call of the whole answer", async () => {
  const stream = client.chat.completions.stream(asked("weather"));
  const pieces = [];
  stream.on("tool_calls.function.arguments.delta", ({ arguments_delta }) => pieces.push(arguments_delta));
  const done = new Promise((resolve) => stream.on("tool_calls.function.arguments.done", resolve));
  const { choices } = await stream.finalChatCompletion();
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.ok(pieces.length > 3);
  assert.deepEqual(JSON.parse(pieces.join("")), ZURICH);
  assert.equal(choices[0].message.tool_calls[0].function.arguments, pieces.join(""));
  assert.equal((await done).name, "get_weather");
});

check("What looks like a call and is none is text; a call that is cut ends with `length`", async () => {
  const mention = await client.chat.completions.create(asked("mention"));
  assert.equal(mention.choices[0].message.content, "A call begins with <tool_call> and goes on with JSON.");
  assert.equal(mention.choices[0].message.tool_calls, undefined);
  const cut = await client.chat.completions.create(asked("short"));
  assert.equal(cut.choices[0].finish_reason, "length");
  assert.equal(cut.choices[0].message.tool_calls[0].function.arguments, '{"city": "Zü');
  const broken = client.chat.completions.stream(asked("broken"));
  await assert.rejects(broken.finalChatCompletion(), /broke in a call/);
});
