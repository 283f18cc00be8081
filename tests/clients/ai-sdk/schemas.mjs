// Answers that are held to a schema, as the AI SDK asks for them and reads them.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateObject, generateText, isStepCount, jsonSchema, Output, streamObject, streamText, tool } from "ai";
import { check, DEMO, KEY, question, SCRIPT } from "./checks.mjs";

const model = (url, name, supportsStructuredOutputs = true) =>
  createOpenAICompatible({ name: "streamcore", baseURL: `${url}/v1`, apiKey: KEY, supportsStructuredOutputs })(name);
const object = (properties) => ({ type: "object", properties, required: Object.keys(properties), additionalProperties: false });
const CITY = { type: "string", enum: ["Zürich", "Oslo"] };
const schema = jsonSchema(object({ city: CITY, celsius: { type: "integer", enum: [4, 21] } }));
const ZURICH = { city: "Zürich", celsius: 21 };
const scripted = (name, strict) => ({ model: model(SCRIPT, "script", strict), prompt: question(name), maxRetries: 0 });
// Questions to the demo model, which knows nothing of schemas, under several seeds.
const sampled = [0, 1, 2, 3].map((seed) => ({
  model: model(DEMO, "demo"),
  prompt: "Tell me a joke",
  temperature: 1,
  maxOutputTokens: 200,
  maxRetries: 0,
  seed,
}));
const isReport = ({ city, celsius }) => CITY.enum.includes(city) && [4, 21].includes(celsius);

check("`generateObject` gives what the schema says, with `json_schema` and with `json_object`", async () => {
  for (const strict of [true, false]) {
    assert.deepEqual((await generateObject({ ...scripted("report", strict), schema })).object, ZURICH);
  }
  for (const asked of sampled) assert.ok(isReport((await generateObject({ ...asked, schema })).object));
});

check("`generateObject` gives lists and choices too", async () => {
  const choice = { output: "enum", enum: ["yes", "no"] };
  for (const asked of sampled) {
    assert.ok(choice.enum.includes((await generateObject({ ...asked, ...choice })).object));
  }
});

check("`streamObject` shows the object while it grows, and ends with all of it", async () => {
  const { partialObjectStream, object } = streamObject({ ...scripted("report"), schema });
  const partial = [];
  for await (const seen of partialObjectStream) partial.push(seen);
  assert.ok(partial.length > 2);
  assert.deepEqual(await object, ZURICH);
  for (const asked of sampled) {
    const result = streamObject({ ...asked, schema });
    for await (const _ of result.partialObjectStream);
    assert.ok(isReport(await result.object));
  }
});

check("`Output.object` does the same for texts, whole and streamed", async () => {
  for (const asked of sampled) {
    assert.ok(isReport((await generateText({ ...asked, output: Output.object({ schema }) })).output));
    const result = streamText({ ...asked, output: Output.object({ schema }) });
    await result.consumeStream();
    assert.ok(isReport(await result.output));
  }
});

check("A call that is asked for comes, from a model that knows no tools", async () => {
  const inputSchema = jsonSchema(object({ city: CITY }));
  const tools = { get_weather: tool({ description: "The weather", inputSchema }) };
  for (const toolChoice of ["required", { type: "tool", toolName: "get_weather" }]) {
    for (const asked of sampled) {
      const { toolCalls, finishReason } = await generateText({ ...asked, tools, toolChoice, stopWhen: isStepCount(1) });
      assert.equal(finishReason, "tool-calls");
      assert.equal(toolCalls[0].toolName, "get_weather");
      assert.ok(CITY.enum.includes(toolCalls[0].input.city));
    }
  }
});

check("What cannot be enforced is an `APICallError` with the keyword", async () => {
  const refused = jsonSchema({ type: "object", properties: { tags: { type: "array", uniqueItems: true } } });
  const error = await generateObject({ ...sampled[0], schema: refused }).then(() => assert.fail("taken"), (error) => error);
  assert.ok(APICallError.isInstance(error), `${error}`);
  assert.match(error.message, /uniqueItems/);
});
