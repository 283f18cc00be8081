// Anthropic's SDK for JavaScript: every way to ask, tools and thoughts, every way to fail.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { check, DEMO, KEY, numAborted, question, runChecks, SCRIPT, waitFor, WEATHER } from "./checks.mjs";

const client = (baseURL = DEMO, options = {}) => new Anthropic({ baseURL, apiKey: KEY, maxRetries: 0, ...options });
const QUESTION = {
  model: "demo",
  max_tokens: 200,
  messages: [{ role: "user", content: "Explain machine learning" }],
  temperature: 0,
};
const TOOL = { name: "get_weather", description: "The weather of a city", input_schema: WEATHER };

// A question to the scripted model.
const asked = (name) => ({
  model: "script",
  max_tokens: 1000,
  messages: [{ role: "user", content: question(name) }],
  tools: [TOOL],
});
const exactly = (content) => ({ model: "script", max_tokens: 100, messages: [{ role: "user", content }] });

check("A whole answer has its text, its end and its usage", async () => {
  const { id, content, stop_reason, usage } = await client().messages.create(QUESTION);
  assert.match(id, /^msg_/);
  assert.deepEqual(content.map(({ type }) => type), ["text"]);
  assert.ok(content[0].text.length > 20);
  assert.equal(stop_reason, "end_turn");
  assert.ok(usage.output_tokens > 5);
});

check("`.stream()` tells the pieces and ends with the whole answer", async () => {
  const whole = await client().messages.create(QUESTION);
  let told = "";
  const stream = client().messages.stream(QUESTION).on("text", (text) => (told += text));
  const final = await stream.finalMessage();
  assert.equal(told, whole.content[0].text);
  assert.deepEqual(final.content, whole.content);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
});

check("An answer says which stop sequence ended it, and where it was cut off", async () => {
  const text = (await client().messages.create(QUESTION)).content[0].text;
  const word = text.split(" ")[3];
  const stopped = await client().messages.create({ ...QUESTION, stop_sequences: [word] });
  assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", word]);
  const cut = await client().messages.create({ ...QUESTION, max_tokens: 5 });
  assert.deepEqual([cut.stop_reason, cut.usage.output_tokens], ["max_tokens", 5]);
});

check("The number of a prompt's tokens is what its answer has read, and the models are listed", async () => {
  const { model, messages } = QUESTION;
  const { usage } = await client().messages.create({ ...QUESTION, max_tokens: 1 });
  const { input_tokens } = await client().messages.countTokens({ model, messages });
  assert.equal(input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
  const ids = [];
  for await (const { id } of client().models.list()) ids.push(id);
  assert.deepEqual(ids, ["demo"]);
});

check("A streamed loop of two calls, each handed back with its thought, ends with the answer", async () => {
  const conversation = asked("trip");
  const called = [];
  let answer;
  for (let turn = 0; turn < 3; turn++) {
    answer = await client(SCRIPT).messages.stream(conversation).finalMessage();
    conversation.messages.push({ role: "assistant", content: answer.content });
    const calls = answer.content.filter(({ type }) => type === "tool_use");
    if (!calls.length) break;
    assert.equal(answer.stop_reason, "tool_use");
    called.push(...calls.map(({ input }) => input));
    const results = calls.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "21 °C" }));
    conversation.messages.push({ role: "user", content: results });
  }
  assert.deepEqual(called, [{ city: "Zürich", days: 2 }, { city: "Oslo", days: 1 }]);
  assert.equal(answer.content[0].text, "Zürich is warmer.");
});

check("A thought comes first, signed, in events of its own", async () => {
  const events = [];
  const stream = client(SCRIPT).messages.stream(asked("weather"));
  for (const name of ["thinking", "signature", "text", "inputJson"]) stream.on(name, () => events.push(name));
  const { content } = await stream.finalMessage();
  assert.deepEqual(content.map(({ type }) => type), ["thinking", "text", "tool_use"]);
  assert.equal(content[0].thinking, "They ask about Zürich.");
  assert.ok(content[0].signature);
  const order = events.filter((name, index) => name !== events[index - 1]);
  assert.deepEqual(order, ["thinking", "signature", "text", "inputJson"]);
});

check("Each refusal is the class that the SDK has for it", async () => {
  const refused = (promise, error, type) =>
    assert.rejects(promise, (raised) => raised instanceof error && raised.error.error.type === type);
  const { AuthenticationError, BadRequestError, NotFoundError, RateLimitError } = Anthropic;
  await refused(
    client(DEMO, { apiKey: "wrong" }).messages.create(QUESTION),
    AuthenticationError,
    "authentication_error",
  );
  await refused(client().messages.create({ ...QUESTION, model: "no" }), NotFoundError, "not_found_error");
  await refused(client().messages.create({ ...QUESTION, n: 2 }), BadRequestError, "invalid_request_error");
  await refused(client(SCRIPT).messages.create(exactly("429")), RateLimitError, "rate_limit_error");
});

check("What can get better is tried again, and an error within a stream is raised", async () => {
  const answer = await client(SCRIPT, { maxRetries: 2 }).messages.create(exactly("fail twice"));
  assert.equal(answer.content[0].text, "third");
  let told = "";
  const stream = client(SCRIPT).messages.stream(exactly("error later")).on("text", (text) => (told += text));
  await assert.rejects(stream.finalMessage(), /broke later/);
  assert.equal(told, "One two");
});

check("A client that leaves ends its request", async () => {
  const before = await numAborted();
  const stream = client().messages.stream({ ...QUESTION, max_tokens: 3000, ignore_eos: true });
  stream.on("text", () => stream.abort());
  await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
  await waitFor(numAborted, before + 1);
});

await runChecks();
