// The OpenAI SDK for Node: every way to ask, every way to fail.

import assert from "node:assert/strict";
import OpenAI from "openai";
import "./answers.mjs";
import "./calls.mjs";
import { check, DEMO, KEY, numAborted, runChecks, SCRIPT, waitFor } from "./checks.mjs";
import "./schemas.mjs";

const client = (options = {}) => new OpenAI({ baseURL: `${DEMO}/v1`, apiKey: KEY, maxRetries: 0, ...options });
const COUNT = { model: "demo", messages: [{ role: "user", content: "Count from 1 to 1000" }], ignore_eos: true };
const QUESTION = {
  model: "demo",
  messages: [{ role: "user", content: "Explain machine learning" }],
  temperature: 0,
};

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

check("A whole answer has its text, its end, its usage, and no field that it was not asked for", async () => {
  const { id, choices, usage } = await client().chat.completions.create(QUESTION);
  assert.match(id, /^chatcmpl-/);
  assert.ok(choices[0].message.content.length > 20);
  assert.equal(choices[0].finish_reason, "stop");
  assert.ok(!("tool_calls" in choices[0].message));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
});

check("A stream is the whole answer in pieces: role first and once, an empty delta with the end last", async () => {
  const whole = await client().chat.completions.create(QUESTION);
  const chunks = await all(
    await client().chat.completions.create({ ...QUESTION, stream: true, stream_options: { include_usage: true } }),
  );
  const { usage, choices } = chunks.pop();
  assert.deepEqual(choices, []);
  assert.deepEqual(usage, whole.usage);
  const deltas = chunks.map((chunk) => chunk.choices[0].delta);
  assert.equal(deltas.map((delta) => delta.content ?? "").join(""), whole.choices[0].message.content);
  assert.deepEqual(deltas[0], { role: "assistant", content: "" });
  assert.ok(deltas.slice(1, -1).every((delta) => delta.content && Object.keys(delta).length === 1));
  assert.deepEqual(deltas.at(-1), {});
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.ok(chunks.every((chunk) => chunk.usage === null));
});

check("`.stream()` gathers the pieces, tells them as events, and ends with the whole answer", async () => {
  const whole = await client().chat.completions.create(QUESTION);
  const stream = client().chat.completions.stream({ ...QUESTION, stream_options: { include_usage: true } });
  let told = "";
  stream.on("content", (delta) => (told += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(told, whole.choices[0].message.content);
  assert.equal(final.choices[0].message.content, told);
  assert.equal(final.choices[0].finish_reason, "stop");
  assert.deepEqual(await stream.totalUsage(), whole.usage);
  assert.ok(!final.choices[0].message.tool_calls?.length);
});

check("`toReadableStream` passes a stream on to a browser, which reads it back", async () => {
  const stream = client().chat.completions.stream(QUESTION);
  const { ChatCompletionStream } = await import("openai/lib/ChatCompletionStream");
  const relayed = ChatCompletionStream.fromReadableStream(stream.toReadableStream());
  assert.ok((await relayed.finalContent()).length > 20);
});

check("`withResponse` shows the headers, and the request's id is the SDK's", async () => {
  const headers = { "x-request-id": "mine-2" };
  const { data, response, request_id } = await client()
    .chat.completions.create(QUESTION, { headers })
    .withResponse();
  assert.equal(request_id, "mine-2");
  assert.equal(data._request_id, "mine-2");
  assert.ok(Number(response.headers.get("openai-processing-ms")) >= 0);
  const raw = await client().chat.completions.create({ ...QUESTION, stream: true }).asResponse();
  assert.equal(raw.headers.get("content-type"), "text/event-stream; charset=utf-8");
  assert.ok((await raw.text()).endsWith("data: [DONE]\n\n"));
});

check("The older completions API and the list of models work", async () => {
  const asked = { model: "demo", prompt: "1, 2, 3,", temperature: 0 };
  const whole = await client().completions.create(asked);
  const streamed = await all(await client().completions.create({ ...asked, stream: true }));
  assert.equal(streamed.map((chunk) => chunk.choices[0].text).join(""), whole.choices[0].text);
  assert.deepEqual((await all(client().models.list())).map((model) => model.id), ["demo"]);
  assert.equal((await client().models.retrieve("demo")).object, "model");
});

check("What the client did wrong raises the SDK's class for it, with the word and the field", async () => {
  for (const stream of [false, true]) {
    const raised = async (change, options) =>
      client(options)
        .chat.completions.create({ ...QUESTION, stream, ...change })
        .then(() => assert.fail("taken"), (error) => error);
    const wrong = await raised({ temperature: 3 });
    assert.ok(wrong instanceof OpenAI.BadRequestError);
    assert.deepEqual([wrong.status, wrong.param, wrong.type], [400, "temperature", "invalid_request_error"]);
    assert.equal((await raised({ max_tokens: 1e6 })).code, "context_length_exceeded");
    const denied = await raised({}, { apiKey: "wrong" });
    assert.ok(denied instanceof OpenAI.AuthenticationError);
    assert.equal(denied.code, "invalid_api_key");
    assert.ok(denied.requestID);
    const missing = await raised({ model: "gpt-4" });
    assert.ok(missing instanceof OpenAI.NotFoundError);
    assert.equal(missing.code, "model_not_found");
    assert.ok((await raised({}, { baseURL: `${DEMO}/v2` })) instanceof OpenAI.NotFoundError);
  }
});

check("A reader that breaks off, aborts its controller or runs out of patience stops the generation", async () => {
  const aborted = await numAborted();
  for await (const _ of await client().chat.completions.create({ ...COUNT, stream: true })) break;
  const stream = await client().chat.completions.create({ ...COUNT, stream: true });
  for await (const _ of stream) stream.controller.abort();
  const helper = client().chat.completions.stream(COUNT);
  helper.once("content", () => helper.abort());
  await assert.rejects(helper.done(), OpenAI.APIUserAbortError);
  const impatient = client({ timeout: 500 }).chat.completions.create({ ...COUNT, max_tokens: 3000 });
  await assert.rejects(impatient, OpenAI.APIConnectionTimeoutError);
  await waitFor(numAborted, aborted + 4);
});

const scripted = (content) => ({ model: "script", messages: [{ role: "user", content }] });
const atScript = (options = {}) => client({ baseURL: `${SCRIPT}/v1`, ...options });

check("Overload and failure raise the SDK's classes for them", async () => {
  for (const [status, kind] of [["429", OpenAI.RateLimitError], ["500", OpenAI.InternalServerError]]) {
    await assert.rejects(atScript().chat.completions.create(scripted(status)), kind);
    await assert.rejects(atScript().chat.completions.create({ ...scripted(status), stream: true }), kind);
  }
});

check("The SDK tries again as often as it is told to, and no more often", async () => {
  const answer = await atScript({ maxRetries: 2 }).chat.completions.create(scripted("fail twice"));
  assert.equal(answer.choices[0].message.content, "third");
  await assert.rejects(atScript().chat.completions.create(scripted("fail once")), OpenAI.InternalServerError);
  const second = await atScript().chat.completions.create(scripted("fail once"));
  assert.equal(second.choices[0].message.content, "second");
});

check("A stream that fails raises after the text that came: an error event, a cut socket", async () => {
  for (const [content, text, message] of [
    ["error first", "", /broke first/],
    ["error later", "One two", /broke later/],
    ["cut", "One two", /terminated|Connection error|aborted/],
  ]) {
    let read = "";
    const reading = async () => {
      const stream = await atScript().chat.completions.create({ ...scripted(content), stream: true });
      for await (const chunk of stream) read += chunk.choices[0].delta.content ?? "";
    };
    await assert.rejects(reading, { message });
    assert.equal(read, text);
  }
});

await runChecks();
