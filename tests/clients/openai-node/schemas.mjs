// Answers that are held to a schema, as the OpenAI SDK for Node asks for them and reads them.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { check, DEMO, KEY, question, SCRIPT } from "./checks.mjs";

const at = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: KEY, maxRetries: 0 }).chat.completions;
const Report = z.object({ city: z.enum(["Zürich", "Oslo"]), celsius: z.literal([4, 21]) });
const ZURICH = { city: "Zürich", celsius: 21 };
const response_format = zodResponseFormat(Report, "report");
const parameters = z.object({ city: z.enum(["Zürich", "Oslo"]), days: z.literal([1, 2]) });
const tools = [zodFunction({ name: "get_weather", description: "The weather of a city", parameters })];

const scripted = (name) => ({ model: "script", messages: [{ role: "user", content: question(name) }] });
// Questions to the demo model, which knows nothing of schemas, under several seeds.
const sampled = [0, 1, 2, 3].map((seed) => ({
  model: "demo",
  messages: [{ role: "user", content: "Tell me a joke" }],
  temperature: 1,
  max_tokens: 200,
  seed,
}));

check("`.parse()` gives what the schema says, whatever a model would rather say", async () => {
  const { choices } = await at(SCRIPT).parse({ ...scripted("report"), response_format });
  assert.deepEqual(choices[0].message.parsed, ZURICH);
  for (const asked of sampled) {
    const { parsed } = (await at(DEMO).parse({ ...asked, response_format })).choices[0].message;
    assert.ok(Report.safeParse(parsed).success);
  }
});

check("`.stream()` with a schema ends with the parsed answer", async () => {
  const stream = at(SCRIPT).stream({ ...scripted("report"), response_format });
  let numDeltas = 0;
  stream.on("content.delta", () => ++numDeltas);
  assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, ZURICH);
  assert.ok(numDeltas > 3);
  for (const asked of sampled) {
    const final = await at(DEMO).stream({ ...asked, response_format }).finalChatCompletion();
    assert.ok(Report.safeParse(final.choices[0].message.parsed).success);
  }
});

check("Strict tools have their arguments read by the SDK, whole and streamed", async () => {
  const asked = { ...scripted("weather"), tools };
  const whole = await at(SCRIPT).parse(asked);
  assert.deepEqual(whole.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Zürich", days: 2 });
  const streamed = await at(SCRIPT).stream({ ...scripted("weather"), tools }).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Zürich", days: 2 });
});

check("A call that is asked for comes, from a model that knows no tools", async () => {
  const named = { type: "function", function: { name: "get_weather" } };
  for (const tool_choice of ["required", named]) {
    for (const asked of sampled) {
      const forced = { ...asked, tools, tool_choice, parallel_tool_calls: false };
      const { choices } = await at(DEMO).parse(forced);
      assert.equal(choices[0].finish_reason, "tool_calls");
      assert.equal(choices[0].message.tool_calls.length, 1);
      assert.ok(parameters.safeParse(choices[0].message.tool_calls[0].function.parsed_arguments).success);
    }
  }
});

check("What cannot be enforced raises `BadRequestError` with the keyword", async () => {
  const schema = { type: "object", properties: { tags: { type: "array", uniqueItems: true } } };
  const refused = { type: "json_schema", json_schema: { name: "tags", schema } };
  const error = await at(DEMO)
    .create({ ...sampled[0], response_format: refused })
    .then(() => assert.fail("taken"), (error) => error);
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.match(error.message, /uniqueItems/);
});
