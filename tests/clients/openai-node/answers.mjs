// Responses, as the OpenAI SDK for Node asks for them.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { check, KEY, numAborted, question, SCRIPT, waitFor, WEATHER } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${SCRIPT}/v1`, apiKey: KEY, maxRetries: 0 });
const TOOL = { type: "function", name: "get_weather", parameters: WEATHER, strict: false };
const asked = (name, options = {}) => ({ model: "script", input: question(name), tools: [TOOL], ...options });

check("A whole response has its thought, its text, its call, and its usage", async () => {
  const { output, output_text, usage, status } = await client.responses.create(asked("weather"));
  assert.deepEqual(output.map(({ type }) => type), ["reasoning", "message", "function_call"]);
  assert.deepEqual(JSON.parse(output[2].arguments), { city: "Zürich", days: 2 });
  assert.deepEqual([output_text, status], ["I look it up.\n", "completed"]);
  assert.equal(usage.total_tokens, usage.input_tokens + usage.output_tokens);
});

check("A response that names the one before goes on with it", async () => {
  const { id, output } = await client.responses.create(asked("weather"));
  const input = [{ type: "function_call_output", call_id: output.at(-1).call_id, output: "21 °C" }];
  const next = await client.responses.create({ model: "script", input, previous_response_id: id });
  assert.equal(next.output_text, "It is 21 °C in Zürich.");
});

check("A loop of two calls that sends all items back ends with the answer, whole and streamed", async () => {
  const ways = [(body) => client.responses.create(body), (body) => client.responses.stream(body).finalResponse()];
  for (const ask of ways) {
    const input = [{ role: "user", content: question("trip") }];
    const cities = [];
    for (let response, isOver = false; !isOver; ) {
      response = await ask({ model: "script", input, tools: [TOOL], store: false });
      const calls = response.output.filter(({ type }) => type === "function_call");
      cities.push(...calls.map((call) => JSON.parse(call.arguments).city));
      const results = calls.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "21 °C" }));
      input.push(...response.output, ...results);
      isOver = !calls.length;
      if (isOver) assert.equal(response.output_text, "Zürich is warmer.");
    }
    assert.deepEqual(cities, ["Zürich", "Oslo"]);
  }
});

check("The number of a prompt's tokens is what its answer says that it has read", async () => {
  const body = asked("thought");
  const { input_tokens } = await client.responses.inputTokens.count(body);
  assert.equal(input_tokens, (await client.responses.create(body)).usage.input_tokens);
});

check("`.stream()` tells each event and gathers the response", async () => {
  const stream = client.responses.stream(asked("weather"));
  const numbers = [];
  for await (const { sequence_number } of stream) numbers.push(sequence_number);
  assert.deepEqual(numbers, numbers.map((_, index) => index));
  const response = await stream.finalResponse();
  assert.equal(response.output_text, "I look it up.\n");
  assert.equal(response.output.length, 3);
});

check("`.parse()` holds the answer to a zod schema", async () => {
  const format = zodTextFormat(z.object({ city: z.string(), celsius: z.number() }), "report");
  const response = await client.responses.parse({ model: "script", input: question("report"), text: { format } });
  assert.deepEqual(response.output_parsed, { city: "Zürich", celsius: 21 });
});

check("A stream that was left is taken up behind any event", async () => {
  const stream = await client.responses.create(asked("weather", { background: true, stream: true }));
  const seen = [];
  for await (const event of stream) if (seen.push(event) === 5) break;
  const { id } = seen[0].response;
  for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: 4 })) seen.push(event);
  assert.deepEqual(seen.map(({ sequence_number }) => sequence_number), seen.map((_, index) => index));
  assert.equal(seen.at(-1).type, "response.completed");
});

check("Errors are the SDK's classes; one in the middle of a stream is the end of the response", async () => {
  await assert.rejects(client.responses.create({ model: "script", input: "429" }), OpenAI.RateLimitError);
  await assert.rejects(client.responses.create({ model: "script", input: [] }), OpenAI.BadRequestError);
  const last = [];
  for await (const event of await client.responses.create({ model: "script", input: "error later", stream: true }))
    last[0] = event;
  assert.deepEqual([last[0].type, last[0].response.error.message], ["response.failed", "broke later"]);
});

check("A stream that is left stops the generation", async () => {
  const aborted = await numAborted(SCRIPT);
  for await (const { type } of await client.responses.create({ model: "script", input: "hang", stream: true }))
    if (type === "response.output_text.delta") break;
  await waitFor(() => numAborted(SCRIPT), aborted + 1);
});
