// Codex, an agent that writes code in a terminal, with this server in the place of OpenAI's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { check, KEY, metric, question, runChecks, SCRIPT } from "./checks.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const PROGRAM = join(HERE, "node_modules", ".bin", "codex");
const HOME = join(HERE, "home");
const SCRATCH = join(HERE, "scratch");
const NOTE = join(SCRATCH, "note.txt");

const CONFIG = `model_provider = "streamcore"
[model_providers.streamcore]
name = "streamcore"
base_url = "${SCRIPT}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
`;

// Runs the agent on one message in a folder, and gives the events that it tells.
async function run(message, model = "script") {
  const usual = ["exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"];
  const child = spawn(PROGRAM, [...usual, "--model", model, message], {
    cwd: SCRATCH,
    env: { PATH: process.env.PATH, HOME, CODEX_HOME: HOME, OPENAI_API_KEY: KEY },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  await new Promise((resolve) => child.on("close", resolve));
  const events = out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  assert.ok(events.length, `${out}${err}`);
  return events;
}

const items = (events, kind) =>
  events.filter(({ type, item }) => type === "item.completed" && item.type === kind).map(({ item }) => item);

for (const folder of [HOME, SCRATCH]) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}
writeFileSync(join(HOME, "config.toml"), CONFIG);

check("An answer has its text and its thought", async () => {
  const events = await run(question("thought"));
  assert.deepEqual(items(events, "agent_message").map(({ text }) => text), ["It is 42."], JSON.stringify(events));
  assert.equal(events.at(-1).type, "turn.completed");
});

check("A file is read and edited by two calls, and the answer follows", async () => {
  writeFileSync(NOTE, "The sky is green.\n");
  const events = await run(question("patch"));
  assert.equal(items(events, "command_execution").length, 2, JSON.stringify(events));
  assert.equal(readFileSync(NOTE, "utf8"), "The sky is blue.\n");
  assert.deepEqual(items(events, "agent_message").map(({ text }) => text), ["The note is right now."]);
});

check("What the server refuses is told with its message", async () => {
  const events = await run("Hello", "missing");
  assert.equal(events.at(-1).type, "turn.failed", JSON.stringify(events));
  assert.match(events.at(-1).error.message, /missing/);
});

check("Nothing is left behind", async () => {
  assert.equal(await metric("streamcore_num_requests_running", "", SCRIPT), 0);
});

await runChecks();
