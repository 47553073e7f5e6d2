import * as fs from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32c } from "../../../src/persistence/store/crc32c.js";
import { levelDamage } from "../../../src/persistence/store/level-check.js";
import { openLevelStore } from "../../../src/persistence/store/level-store.js";
import { nodeFileSystem } from "../../../src/platform/file-system.js";
import { range, temporaryFolder } from "./fixture.js";

const check = (folder: string): Promise<string | undefined> =>
  levelDamage(nodeFileSystem, folder, () => Promise.resolve());

/** A database in several tables, with keys that were replaced and removed, and a journal. */
async function makeDatabase(folder: string): Promise<void> {
  for (const round of range(1, 3)) {
    const database = await openLevelStore(folder);
    for (const n of range(1, 40)) {
      const key = Buffer.from(`key ${n * round}`);
      await database.batch([{ key, value: n % 7 === 0 ? undefined : Buffer.alloc(n * 400, n) }]);
    }
    if (round === 2) await database.compact();
    await database.close();
    expect(await check(folder)).toBeUndefined();
  }
}

describe("the check of LevelDB's files", () => {
  it("computes CRC-32C, wherever the bytes lie", () => {
    const slow = (bytes: Uint8Array): number => {
      let crc = -1;
      for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0x82f63b78;
      }
      return ~crc >>> 0;
    };
    expect(crc32c(Buffer.from("123456789"), 0, 9)).toBe(0xe3069283);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(9), (bytes, shift) => {
        const around = new Uint8Array(bytes.length + 20);
        around.set(bytes, shift);
        expect(crc32c(around, shift, shift + bytes.length)).toBe(slow(bytes));
      }),
    );
  });

  it("takes a sound database for one, and a journal that was cut anywhere", async () => {
    const folder = temporaryFolder();
    await makeDatabase(folder);
    const journal = join(folder, fs.readdirSync(folder).find((name) => name.endsWith(".log")) ?? "");
    const bytes = fs.readFileSync(journal);
    for (let size = bytes.length; size >= 0; size -= 997) {
      fs.truncateSync(journal, size);
      expect(await check(folder), `${size}`).toBeUndefined();
    }
  });

  it("misses a file that is gone", async () => {
    const folder = temporaryFolder();
    await makeDatabase(folder);
    for (const name of fs.readdirSync(folder).filter((one) => /ldb$|^MANIFEST/.test(one))) {
      const bytes = fs.readFileSync(join(folder, name));
      fs.rmSync(join(folder, name));
      expect(await check(folder)).toMatch(/is not there/);
      fs.writeFileSync(join(folder, name), bytes);
    }
    expect(await check(folder)).toBeUndefined();
  });
});
