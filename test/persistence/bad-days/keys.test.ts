import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { KeyProvider } from "../../../src/persistence/key-ring.js";
import { command, imprint } from "../../cli/fixture.js";
import { durable, openStore, pendingSeqs, publish, range, temporaryFolder } from "../store/fixture.js";

const keysOf =
  (current: number, ...known: number[]): KeyProvider =>
  (id = current) =>
    [current, ...known].includes(id) ? { id, key: new Uint8Array(32).fill(id) } : undefined;

const withKeys = (...ids: [number, ...number[]]): { encryption: { keyProvider: KeyProvider } } => ({
  encryption: { keyProvider: keysOf(...ids) },
});

async function makeStore(path: string, options: object = {}): Promise<void> {
  const store = await openStore(path, options);
  await store.append([durable("d", [">"]), publish(1)]);
  await store.checkpoint();
  await store.append([publish(2)]);
  await store.close();
}

/** What of a store counts: LevelDB writes its own notes when it opens. */
const partsOf = (path: string): string[] => [
  ...imprint(join(path, "wal")),
  ...fs.readdirSync(path).filter((name) => name !== "lock"),
];

describe("keys", () => {
  it("an encrypted store without its key, or with another one, is refused and named; nothing is changed", async () => {
    const path = temporaryFolder();
    await makeStore(path, withKeys(1));
    const before = partsOf(path);
    const wrong = { encryption: { keyProvider: () => ({ id: 1, key: new Uint8Array(32).fill(9) }) } };
    for (const [options, text] of [
      [{}, /encrypted with key 1, and no encryption\.keyProvider was given/],
      [withKeys(2), /key 1, which was not given by the keyProvider/],
      [wrong, /key 1, which is another one/],
    ] as const) {
      for (const recovery of ["quarantine", "truncate-tail", "fail"] as const) {
        const opening = openStore(path, { ...options, recovery });
        await expect(opening).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
        await expect(opening).rejects.toThrow(text);
      }
    }
    expect(partsOf(path)).toEqual(before);
    expect(await pendingSeqs(await openStore(path, withKeys(1)), "d")).toEqual([1, 2]);
  });

  it("also when the database is lost, and only the log can say so", async () => {
    const path = temporaryFolder();
    await makeStore(path, withKeys(1));
    fs.rmSync(join(path, "level"), { recursive: true });
    const before = imprint(join(path, "wal"));
    await expect(openStore(path)).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
    await expect(openStore(path, withKeys(2))).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
    expect(imprint(join(path, "wal"))).toEqual(before);
    const store = await openStore(path, withKeys(1));
    expect(store.recoveryReport.database).toBe("missing");
    expect(await pendingSeqs(store, "d")).toContain(2);
  });

  it("a plain store with a key is refused: it would be half encrypted", async () => {
    const path = temporaryFolder();
    await makeStore(path);
    await expect(openStore(path, withKeys(1))).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
    await expect(openStore(path, withKeys(1))).rejects.toThrow(/is not encrypted, and does not become so/);
    expect(await pendingSeqs(await openStore(path), "d")).toEqual([1, 2]);
  });

  it("a key provider that gives no usable key is told what it should give", async () => {
    for (const key of [undefined, { id: 0, key: new Uint8Array(32) }, { id: 1, key: new Uint8Array(16) }]) {
      const options = { encryption: { keyProvider: () => key } };
      await expect(openStore(temporaryFolder(), options)).rejects.toThrow(/id: 1 to 2\^32 - 1, key: 32 bytes/);
    }
  });

  it("a key provider that throws is a wrong key, with what it threw", async () => {
    const path = temporaryFolder();
    await makeStore(path, withKeys(1));
    const cause = new Error("the vault is sealed");
    const refused = { code: "ERR_WRONG_KEY", cause };
    const never: KeyProvider = () => Promise.reject(cause);
    const onlyNew: KeyProvider = (id) => {
      if (id !== undefined) throw cause;
      return { id: 2, key: new Uint8Array(32).fill(2) };
    };
    await expect(openStore(path, { encryption: { keyProvider: never } })).rejects.toMatchObject(refused);
    const opening = openStore(path, { encryption: { keyProvider: onlyNew } });
    await expect(opening).rejects.toMatchObject(refused);
    await expect(opening).rejects.toThrow(/keyProvider\(1\) threw: the vault is sealed/);
  });

  it("rotation: bytes alone are the key that was asked for, and the one key of a provider is no other", async () => {
    const path = temporaryFolder();
    const bytes = (id: number): Uint8Array => new Uint8Array(32).fill(id);
    for (const current of range(1, 3)) {
      const keyProvider: KeyProvider = (id) => (id === undefined ? { id: current, key: bytes(current) } : bytes(id));
      const store = await openStore(path, { encryption: { keyProvider } });
      await store.append(current === 1 ? [durable("d", [">"]), publish(1)] : [publish(current)]);
      if (current === 2) await store.checkpoint();
      expect(await pendingSeqs(store, "d")).toEqual(range(1, current));
      await store.close();
    }
    const always = openStore(path, { encryption: { keyProvider: () => bytes(1) } });
    await expect(always).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
    await expect(always).rejects.toThrow(/keyProvider\(2\) must return it/);
  });

  it("rotation: each opening may have a new key; the old ones are asked for while something of theirs is there", async () => {
    const path = temporaryFolder();
    for (const current of range(1, 5)) {
      const store = await openStore(path, withKeys(current, ...range(1, current - 1)));
      if (current === 1) await store.append([durable("d", [">"])]);
      await store.append([publish(current * 2 - 1)]);
      if (current % 2 === 0) await store.checkpoint();
      await store.append([publish(current * 2)]);
      expect(await pendingSeqs(store, "d")).toEqual(range(1, current * 2));
      await store.close();
    }
    // Written anew, all of it is under the last key, and the old ones can go.
    const keys = range(1, 5).flatMap((id) => ["--key", `${id}=${Buffer.alloc(32, id).toString("hex")}`]);
    const { out } = await command(["export", path, ...keys]);
    const fresh = join(temporaryFolder(), "new");
    await command(["import", fresh, ...keys.slice(-2)], { input: out });
    expect(await pendingSeqs(await openStore(fresh, withKeys(5)), "d")).toEqual(range(1, 10));
  });
});
