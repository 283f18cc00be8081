// Vercel's AI SDK with its provider for OpenAI-compatible servers: what a chat page in Next.js is made of.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";
import "./answers.mjs";
import "./calls.mjs";
import { check, DEMO, KEY, numAborted, runChecks, SCRIPT, waitFor } from "./checks.mjs";
import "./schemas.mjs";

const provider = (options = {}) =>
  createOpenAICompatible({ name: "streamcore", baseURL: `${DEMO}/v1`, apiKey: KEY, includeUsage: true, ...options });
const QUESTION = { model: provider()("demo"), prompt: "Explain machine learning", temperature: 0, maxRetries: 0 };

check("`generateText` gives the text, why it ended, and what it cost", async () => {
  const { text, finishReason, usage, toolCalls, warnings } = await generateText(QUESTION);
  assert.ok(text.length > 20);
  assert.equal(finishReason, "stop");
  assert.ok(usage.inputTokens > 0);
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
  assert.deepEqual(toolCalls, []);
  assert.deepEqual(warnings ?? [], []);
});

check("`streamText` gives the same text in pieces, with the same end and the same usage", async () => {
  const whole = await generateText(QUESTION);
  const result = streamText(QUESTION);
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  assert.ok(pieces.length > 5);
  assert.equal(pieces.join(""), whole.text);
  assert.equal(await result.finishReason, "stop");
  const usage = await result.usage;
  assert.deepEqual([usage.inputTokens, usage.outputTokens], [whole.usage.inputTokens, whole.usage.outputTokens]);
});

check("The parts of a stream come in order and none of them is an error", async () => {
  const kinds = [];
  const result = streamText(QUESTION);
  for await (const part of result.stream ?? result.fullStream) kinds.push(part.type);
  const order = ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"];
  assert.deepEqual([...new Set(kinds)].filter((kind) => order.includes(kind)), order);
  assert.ok(!kinds.includes("error"));
});

check("A limit shows as `length`, a stop string as `stop`", async () => {
  assert.equal((await generateText({ ...QUESTION, maxOutputTokens: 3 })).finishReason, "length");
  const stopped = await generateText({ ...QUESTION, prompt: "Count from 1 to 100", stopSequences: ["20"] });
  assert.equal(stopped.finishReason, "stop");
  assert.match(stopped.text, /19[ ,\n]*$/);
});

check("The older completions API works through `completionModel`", async () => {
  const { text } = await generateText({
    ...QUESTION,
    model: provider().completionModel("demo"),
    prompt: "1, 2, 3,",
    maxOutputTokens: 8,
  });
  assert.ok(text);
});

check("Errors are `APICallError` with status and message, and only what can get better is retryable", async () => {
  const raised = (change) => generateText({ ...QUESTION, ...change }).then(() => assert.fail("taken"), (error) => error);
  for (const [status, change] of [
    [400, { temperature: 3 }],
    [401, { model: provider({ apiKey: "wrong" })("demo") }],
    [404, { model: provider()("gpt-4") }],
  ]) {
    const error = await raised(change);
    assert.ok(APICallError.isInstance(error), `${error}`);
    assert.equal(error.statusCode, status);
    assert.equal(error.isRetryable, false);
    assert.equal(error.message, error.data.error.message);
  }
});

check("An error of a stream reaches `onError`, and the stream ends", async () => {
  const errors = [];
  const onError = ({ error }) => void errors.push(error);
  const result = streamText({ ...QUESTION, temperature: 3, onError });
  await result.consumeStream({ onError: () => {} });
  assert.equal(errors[0].statusCode, 400);
});

check("An abort signal stops the generation at the server", async () => {
  const aborted = await numAborted();
  const controller = new AbortController();
  const result = streamText({ ...QUESTION, prompt: "Count from 1 to 1000", abortSignal: controller.signal });
  for await (const _ of result.textStream) controller.abort();
  await waitFor(numAborted, aborted + 1);
});

const scripted = (prompt) => ({ model: provider({ baseURL: `${SCRIPT}/v1` })("script"), prompt, maxRetries: 0 });

check("Overload and failure are retryable, and are tried again as often as told", async () => {
  for (const status of ["429", "500", "503"]) {
    const error = await generateText(scripted(status)).then(() => assert.fail("taken"), (error) => error);
    assert.equal(error.statusCode, Number(status));
    assert.equal(error.isRetryable, true);
  }
  assert.equal((await generateText({ ...scripted("fail twice"), maxRetries: 2 })).text, "third");
});

check("A stream that fails gives the text that came, then an error", async () => {
  for (const [prompt, text, message] of [
    ["error first", "", /broke first/],
    ["error later", "One two", /broke later/],
    ["cut", "One two", /terminated|Connection error|aborted|Failed to process/],
  ]) {
    const errors = [];
    const onError = ({ error }) => void errors.push(error);
    let read = "";
    try {
      for await (const piece of streamText({ ...scripted(prompt), onError }).textStream) read += piece;
    } catch (error) {
      errors.push(error);
    }
    assert.equal(read, text);
    assert.match(errors[0]?.message ?? JSON.stringify(errors[0]), message);
  }
});

await runChecks();
