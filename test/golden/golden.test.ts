import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { StoreInspector } from "../../src/persistence/inspect.js";
import type { StoreOptions } from "../../src/persistence/options.js";
import { imprint } from "../cli/fixture.js";
import { openStore, pendingSeqs, publish, replayed, temporaryFolder } from "../persistence/store/fixture.js";
import { ManualClock } from "../support/manual-clock.js";

// Made by scripts/write-golden.mjs, once for each version of the format.
const versions = fs.readdirSync("test/golden").filter((name) => /^\d+$/.test(name));
const kinds = ["plain", "gzip", "encrypted"];
const cases = versions.flatMap((version) => kinds.map((kind) => ({ version, kind })));

const optionsOf = (kind: string, path: string): StoreOptions => ({
  path,
  clock: new ManualClock(1_700_000_000_000),
  dedup: { window: 4_000_000_000_000 },
  ...(kind === "encrypted" && { encryption: { keyProvider: () => ({ id: 1, key: Buffer.alloc(32, 1) }) } }),
});

async function exported(options: StoreOptions): Promise<string> {
  const inspector = await StoreInspector.open(options);
  let text = "";
  for await (const line of inspector.exportLines()) text += line;
  expect(await inspector.verify()).toMatchObject({ isSound: true, notes: [] });
  await inspector.close();
  return text;
}

describe("stores that earlier versions wrote", () => {
  it("are there for the version that this one writes", async () => {
    const { databaseFormat } = await import("../../src/persistence/open-database.js");
    expect(versions).toContain(String(databaseFormat));
  });

  it.each(cases)("format $version, $kind: are read as they were, and not touched", async ({ version, kind }) => {
    const path = join("test/golden", version, kind);
    const before = imprint(path);
    expect(await exported(optionsOf(kind, path))).toBe(fs.readFileSync(`${path}.ndjson`, "utf8"));
    expect(imprint(path)).toEqual(before);
  });

  it.each(cases)("format $version, $kind: are opened, and go on", async ({ version, kind }) => {
    const golden = join("test/golden", version, kind);
    const path = join(temporaryFolder(), "data");
    fs.cpSync(golden, path, { recursive: true });
    const options = { ...optionsOf(kind, path), retention: { policy: "limits" } } as const;
    const store = await openStore(path, options);
    expect(store.recoveryReport).toMatchObject({
      database: "opened",
      damaged: [],
      discrepancies: [],
      log: { quarantined: [], cut: undefined },
      warnings: [],
    });
    const billing = await pendingSeqs(store, "billing");
    expect(billing).toEqual([4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28]);
    await store.append([publish(store.lastSeq + 1, { topic: "orders.eu" })]);
    await store.compact();
    await store.close();
    const again = await openStore(path, options);
    expect(await pendingSeqs(again, "billing")).toEqual([...billing, 30]);
  });

  it.each(cases)("format $version, $kind: are kept within a limit of bytes", async ({ version, kind }) => {
    const path = join(temporaryFolder(), "data");
    fs.cpSync(join("test/golden", version, kind), path, { recursive: true });
    const options = optionsOf(kind, path);
    let store = await openStore(path, { ...options, retention: { maxBytes: 1e9 } });
    const all = await replayed(store);
    await store.close();
    const limited = { ...options, retention: { maxBytes: 500 } };
    store = await openStore(path, limited);
    const shown = await replayed(store);
    // A hundred bytes each, and some: whether or not their blocks tell what they took in the log.
    expect(shown.length).toBeGreaterThan(2);
    expect(shown.length).toBeLessThan(8);
    expect(shown).toEqual(all.slice(-shown.length));
    await store.compact();
    expect(await replayed(store)).toEqual(shown);
    await store.close();
    store = await openStore(path, limited);
    expect(await replayed(store)).toEqual(shown);
  });
});
