// A path that cannot become a store's folder: refused at once, with a code and the path, and what is there stays.
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import { nodeFileSystem } from "../../../src/platform/file-system.js";
import { temporaryFolder } from "../store/fixture.js";

async function refusal(path: string): Promise<unknown> {
  const broker = new InProcBroker({ persistence: levelPersistence({ path }) });
  broker.on("error", () => undefined);
  return broker.ready().then(
    () => broker.close(),
    (error: unknown) => error,
  );
}

/** Something in the way: made in a folder, and which path is then asked for. */
const obstacles: Record<string, (folder: string) => string> = {
  "a file": (folder) => {
    fs.writeFileSync(join(folder, "file"), "x");
    return join(folder, "file");
  },
  "a file above it": (folder) => {
    fs.writeFileSync(join(folder, "file"), "x");
    return join(folder, "file", "store");
  },
  "a link that leads nowhere": (folder) => {
    fs.symlinkSync(join(folder, "nowhere"), join(folder, "link"));
    return join(folder, "link");
  },
  "a link to itself": (folder) => {
    fs.symlinkSync(join(folder, "link"), join(folder, "link"));
    return join(folder, "link", "store");
  },
  "a name that is too long": (folder) => join(folder, "x".repeat(300)),
  "a file in place of the log": (folder) => {
    fs.writeFileSync(join(folder, "wal"), "x");
    return folder;
  },
  "a folder in place of the lock": (folder) => {
    fs.mkdirSync(join(folder, "lock", "deep"), { recursive: true });
    return folder;
  },
};

describe("a path that cannot be a store's folder", () => {
  it.each(Object.keys(obstacles))("is refused: %s", async (what) => {
    const folder = temporaryFolder();
    const path = (obstacles[what] as (folder: string) => string)(folder);
    const before = fs.readdirSync(folder);
    const error = await refusal(path);
    expect(error).toMatchObject({ code: "ERR_STORE_FAILED" });
    expect((error as Error).message).toContain(folder);
    expect(fs.readdirSync(folder)).toEqual(expect.arrayContaining(before));
  });

  it.skipIf(!fs.existsSync("/proc/self"))("is refused where a folder takes no names, as /proc", async () => {
    for (const path of ["/proc/store", "/proc/store/deep", "/proc/self/store", "/proc"]) {
      const error = await refusal(path);
      expect(error, path).toMatchObject({ code: "ERR_STORE_FAILED", facts: { path } });
      expect((error as Error).message).toContain(path);
    }
  });

  it("is made with all above it that is missing, and two who make it do not disturb each other", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "a", "b", "c");
    await Promise.all([nodeFileSystem.makeDirectory(path), nodeFileSystem.makeDirectory(path)]);
    await nodeFileSystem.makeDirectory(path);
    expect(fs.statSync(path).isDirectory()).toBe(true);
  });
});
