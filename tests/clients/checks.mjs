// What the Node programs here have in common: a list of checks, and a look at the server from outside.

import assert from "node:assert/strict";

export const KEY = process.env.OPENAI_API_KEY;
export const [DEMO, SCRIPT] = process.env.STREAMCORE_URLS.split(" ");

export const WEATHER = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city"],
};
export const WEATHER_TOOL = {
  type: "function",
  function: { name: "get_weather", description: "The weather of a city", parameters: WEATHER },
};

const checks = [];
let numAsked = 0;

// What to ask the scripted server for a case of `script.py`, from its first turn.
export const question = (name) => `${name} ${++numAsked}`;

// The sum of the values of a metric, whose labels must contain `label`.
export async function metric(name, label = "", server = DEMO) {
  const page = await (await fetch(`${server}/metrics`, { headers: { "x-api-key": KEY } })).text();
  const lines = page.split("\n").filter((line) => line.split(/[{ ]/)[0] === name && line.includes(label));
  assert.ok(lines.length, `no metric ${name} in:\n${page}`);
  return lines.map((line) => Number(line.split(" ").at(-1))).reduce((sum, value) => sum + value);
}

export const numAborted = (server = DEMO) => metric("streamcore_aborts_total", "", server);

// Asks again and again until a value is reached.
export async function waitFor(read, expected, timeoutMs = 30_000) {
  const deadline = Date.now() + timeoutMs;
  for (let value = await read(); value !== expected; value = await read()) {
    assert.ok(Date.now() < deadline, `value is ${value}, expected ${expected}`);
  }
}

// Adds a check. Its sentence says what would break in the world.
export function check(sentence, run) {
  checks.push({ sentence, run });
}

// Runs all checks in order and prints a line for each; the status is 1 if one failed.
export async function runChecks() {
  for (const { sentence, run } of checks) {
    try {
      await run();
      console.log(`ok    ${sentence}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`FAIL  ${sentence}\n${error?.stack ?? error}`);
    }
  }
}
