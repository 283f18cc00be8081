// opencode, an agent that writes code in a terminal, with this server as its provider.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { check, KEY, question, runChecks, SCRIPT } from "./checks.mjs";

const PROGRAM = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "opencode-linux-x64", "bin", "opencode");
const limit = { context: 100_000, output: 4000 };
const CONFIG = {
  share: "disabled",
  autoupdate: false,
  provider: {
    streamcore: {
      npm: "@ai-sdk/openai-compatible",
      options: { baseURL: `${SCRIPT}/v1`, apiKey: KEY },
      models: { script: { tool_call: true, reasoning: true, limit }, missing: { tool_call: true, limit } },
    },
  },
};

// Runs the agent on one message in a folder of its own, and gives the events that it tells.
async function run(message, model = "script") {
  const folder = mkdtempSync(join(tmpdir(), "opencode-"));
  writeFileSync(join(folder, "opencode.json"), JSON.stringify(CONFIG));
  // It takes its folder from the variable, not from the system.
  const env = { ...process.env, PWD: folder, HOME: folder, OPENCODE_DISABLE_MODELS_FETCH: "1" };
  for (const kind of ["CONFIG", "DATA", "CACHE", "STATE"]) delete env[`XDG_${kind}_HOME`];
  // With a title it does not ask the model for one.
  const options = ["run", "--model", `streamcore/${model}`, "--title", "check", "--format", "json", "--thinking"];
  const child = spawn(PROGRAM, [...options, message], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  await new Promise((resolve) => child.on("close", resolve));
  rmSync(folder, { recursive: true, force: true });
  const events = out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  assert.ok(events.length, `${out}${err}`);
  return events;
}

const texts = (events, type) => events.filter((event) => event.type === type).map(({ part }) => part.text);

check("An answer has its text, its thought and its tokens", async () => {
  const events = await run(question("thought"));
  assert.deepEqual(texts(events, "text"), ["It is 42."]);
  assert.deepEqual(texts(events, "reasoning"), ["Six times seven."]);
  const { tokens, reason } = events.find(({ type }) => type === "step_finish").part;
  assert.equal(reason, "stop");
  assert.ok(tokens.output > 0);
});

check("A command that the model wants is run, its output goes back, and the answer follows", async () => {
  const events = await run(question("shell"));
  const { tool, state } = events.find(({ type }) => type === "tool_use").part;
  assert.equal(tool, "bash");
  assert.equal(state.status, "completed");
  assert.equal(state.output.trim(), "42");
  assert.deepEqual(texts(events, "text").at(-1), "The shell says 42.");
});

check("What the server refuses is told with its message", async () => {
  const events = await run("Hello", "missing");
  assert.match(JSON.stringify(events.find(({ type }) => type === "error")), /`missing`.*does not exist|not served/);
});

await runChecks();
