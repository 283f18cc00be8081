// Claude Code, an agent that writes code in a terminal, with this server in the place of Anthropic's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { check, KEY, metric, question, runChecks, SCRIPT } from "./checks.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const PROGRAM = join(HERE, "node_modules", ".bin", "claude");
// The script says where the file is that it edits.
const SCRATCH = join(HERE, "scratch");
const NOTE = join(SCRATCH, "note.txt");

// Runs the agent on one message in a folder, and gives the events that it tells.
async function run(message, ...options) {
  const home = mkdtempSync(join(tmpdir(), "claude-code-"));
  const env = {
    PATH: process.env.PATH,
    HOME: home,
    ANTHROPIC_BASE_URL: SCRIPT,
    ANTHROPIC_API_KEY: KEY,
    ANTHROPIC_MODEL: "script",
    ANTHROPIC_SMALL_FAST_MODEL: "script",
    ANTHROPIC_DEFAULT_HAIKU_MODEL: "script",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    DISABLE_AUTOUPDATER: "1",
    DISABLE_TELEMETRY: "1",
  };
  const usual = ["-p", "--output-format", "stream-json", "--verbose", "--max-turns", "5"];
  const child = spawn(PROGRAM, [...usual, ...options, message], {
    cwd: SCRATCH,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  await new Promise((resolve) => child.on("close", resolve));
  rmSync(home, { recursive: true, force: true });
  const events = out.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  assert.ok(events.length, `${out}${err}`);
  return events;
}

const blocks = (events) =>
  events.filter(({ type }) => type === "assistant").flatMap(({ message }) => message.content);

rmSync(SCRATCH, { recursive: true, force: true });
mkdirSync(SCRATCH, { recursive: true });

check("An answer has its text and its thought", async () => {
  const events = await run(question("thought"));
  const { result, is_error } = events.at(-1);
  assert.deepEqual([result, is_error], ["It is 42.", false]);
  assert.equal(blocks(events).find(({ type }) => type === "thinking")?.thinking, "Six times seven.");
});

check("A file is read and edited by two calls, and the answer follows", async () => {
  writeFileSync(NOTE, "The sky is green.\n");
  const events = await run(question("edit"), "--permission-mode", "acceptEdits");
  const called = blocks(events).filter(({ type }) => type === "tool_use").map(({ name }) => name);
  assert.deepEqual(called, ["Read", "Edit"], JSON.stringify(events));
  assert.equal(readFileSync(NOTE, "utf8"), "The sky is blue.\n");
  assert.deepEqual([events.at(-1).result, events.at(-1).is_error], ["The note is right now.", false]);
});

check("What the server refuses is told with its message", async () => {
  const events = await run("Hello", "--model", "missing");
  const { is_error, result } = events.at(-1);
  assert.ok(is_error, JSON.stringify(events.at(-1)));
  assert.match(result, /missing/);
});

check("Nothing is left behind", async () => {
  assert.equal(await metric("streamcore_num_requests_running", "", SCRIPT), 0);
});

await runChecks();
