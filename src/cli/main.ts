#!/usr/bin/env node
import { once } from "node:events";
import { systemClock } from "../platform/clock.js";
import { run } from "./run.js";

const { stdout, stderr, stdin } = process;

// Whoever read along (`| head`) has enough.
stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exitCode = await run(process.argv.slice(2), {
  async out(text) {
    if (!stdout.write(text)) await once(stdout, "drain");
  },
  err: (text) => void stderr.write(text),
  isWatched: stderr.isTTY,
  clock: systemClock,
  input: stdin,
});
