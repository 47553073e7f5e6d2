import { describe, expect, it, vi } from "vitest";
import { runNode } from "../examples/run-node.js";

describe("the example in vitest", async () => {
  await import("../../examples/testing/shop.vitest.mjs");
});

describe("the example in jest, on globals that mean the same", async () => {
  Object.assign(globalThis, { test: it, expect, jest: vi });
  await import("../../examples/testing/shop.jest.mjs");
});

it("the example in node:test", async () => {
  const { exitCode, stdout } = await runNode(["--test", "--test-reporter=tap", "examples/testing/shop.node-test.mjs"]);
  expect(stdout).toContain("# pass 4");
  expect(exitCode).toBe(0);
});
