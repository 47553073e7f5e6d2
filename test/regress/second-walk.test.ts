/**
 * What a newcomer stumbled over with the store on: errors of the system in place of the broker's, each failure to open told twice, misspelt
 * limits that limited nothing, an error as payload that came back as `{}`.
 */
import * as fs from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { openBroker, temporaryFolder } from "../broker-store/fixture.js";
import { rejectionCode, thrownCode } from "../support/manual-broker.js";

it("a folder that cannot be one is ERR_STORE_FAILED, with the system's reason", async () => {
  const file = join(temporaryFolder(), "file");
  fs.writeFileSync(file, "x");
  for (const path of [file, join(file, "below"), join(temporaryFolder(), "x".repeat(5_000))]) {
    await expect(InProcBroker.open({ persistence: levelPersistence({ path }) })).rejects.toMatchObject({
      code: "ERR_STORE_FAILED",
      message: expect.stringContaining("cannot be opened") as string,
      cause: { syscall: expect.stringMatching(/^(?:mkdir|stat|scandir)$/) as string },
    });
  }
  expect(thrownCode(() => levelPersistence({ path: "a\0b" }))).toBe("ERR_INVALID_OPTION");
});

it("what keeps a store from opening is told once: to who waits for it, or else as a warning", async () => {
  const warn = vi.spyOn(process, "emitWarning").mockReturnValue();
  try {
    const path = temporaryFolder();
    await openBroker(path);
    const persistence = levelPersistence({ path });
    expect(await rejectionCode(InProcBroker.open({ persistence }))).toBe("ERR_STORE_LOCKED");
    expect(warn).not.toHaveBeenCalled();

    const heard: unknown[] = [];
    const listening = new InProcBroker({ persistence });
    listening.on("error", (error) => heard.push(error));
    await expect(listening.ready()).rejects.toBe(await vi.waitUntil(() => heard[0]));
    expect(warn).not.toHaveBeenCalled();

    await new Promise<void>((resolve) => {
      new InProcBroker({ persistence }).on("closed", () => resolve());
    });
    expect(warn).toHaveBeenCalledOnce();
  } finally {
    warn.mockRestore();
  }
});

it.each([
  ["retention", "1d"],
  ["retention", null],
  ["retention", { maxAgeMs: 1_000 }],
  ["encryption", null],
  ["reserveBytes", -1],
  ["reserveBytes", "4MB"],
])("the store's option %s is refused as %j, not taken for its default", (name, value) => {
  expect(thrownCode(() => levelPersistence({ path: "data", [name]: value }))).toBe("ERR_INVALID_OPTION");
});

it("a key provider that answers null gives no key", async () => {
  const encryption = { keyProvider: () => null as unknown as undefined };
  const persistence = levelPersistence({ path: temporaryFolder(), encryption });
  expect(await rejectionCode(InProcBroker.open({ persistence }))).toBe("ERR_INVALID_OPTION");
});

it("an error is refused by the JSON codec, which would make it {}", async () => {
  const broker = await openBroker(temporaryFolder());
  for (const data of [new Error("why"), { failed: new TypeError("what") }]) {
    expect(await rejectionCode(broker.publish("a", data))).toBe("ERR_INVALID_MESSAGE");
  }
});

it("history of what is no pattern is ERR_INVALID_PATTERN", async () => {
  const broker = await openBroker(temporaryFolder());
  for (const pattern of [5, null, { a: 1 }] as unknown as string[]) {
    expect(await rejectionCode(broker.recoverMessages(pattern))).toBe("ERR_INVALID_PATTERN");
  }
});
