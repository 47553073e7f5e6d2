import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { lockHolder, takeLock } from "../../src/platform/lock-file.js";
import type { LockResult } from "../../src/platform/lock-file.js";
import { temporaryFolder } from "../persistence/store/fixture.js";

async function acquired(path: string): Promise<LockResult & { acquired: true }> {
  const result = await takeLock(path);
  if (!result.acquired) throw new Error(`held by ${result.holder.pid}`);
  return result;
}

/** A process that is alive, and not this one. */
const other = { pid: process.ppid, host: "elsewhere", started: "" };

describe("a lock file", () => {
  it("names its holder, and is all that there is in the folder, while it is held; afterwards there is nothing", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "lock");
    const lock = await acquired(path);
    expect(fs.readdirSync(folder)).toEqual(["lock"]);
    expect(lockHolder(path)).toMatchObject({ pid: process.pid });
    expect(await takeLock(path)).toMatchObject({ acquired: false, holder: { pid: process.pid } });
    await lock.release();
    expect(fs.readdirSync(folder)).toEqual([]);
    expect(lockHolder(path)).toBeUndefined();
  });

  it("of another process is left alone by who asks for it, who leaves nothing of his own", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "lock");
    fs.writeFileSync(path, JSON.stringify(other));
    expect(await takeLock(path)).toEqual({ acquired: false, holder: { pid: other.pid, host: other.host } });
    expect(fs.readdirSync(folder)).toEqual(["lock"]);
    expect(fs.readFileSync(path, "utf8")).toBe(JSON.stringify(other));
  });

  it.each([
    ["of a process that is gone", JSON.stringify({ pid: 2 ** 22 + 1, host: "", started: "" })],
    ["of an earlier process with this one's id", JSON.stringify({ pid: process.pid, host: "", started: "" })],
    ["that names nobody", "half of it"],
  ])("%s is taken over, and nothing of it is left", async (_case, content) => {
    const folder = temporaryFolder();
    const path = join(folder, "lock");
    fs.writeFileSync(path, content);
    expect(lockHolder(path)).toBeUndefined();
    const lock = await acquired(path);
    expect(fs.readdirSync(folder)).toEqual(["lock"]);
    expect(lockHolder(path)).toMatchObject({ pid: process.pid });
    await lock.release();
    expect(fs.readdirSync(folder)).toEqual([]);
  });
});
