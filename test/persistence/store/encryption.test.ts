import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { KeyRing } from "../../../src/persistence/key-ring.js";
import type { EncryptionKey } from "../../../src/persistence/key-ring.js";
import { DamagedValue } from "../../../src/persistence/store/damaged-value.js";
import { Sealer } from "../../../src/persistence/store/sealer.js";
import { crc32 } from "../../../src/platform/checksum.js";
import { nodeCipher } from "../../../src/platform/cipher.js";
import { zlibCompressor } from "../../../src/platform/compressor.js";
import { durable, message, openStore, pendingSeqs, publish, range, temporaryFolder } from "./fixture.js";

const secretTopic = "payroll.secret-topic";
const keyOf = (id: number): EncryptionKey => ({ id, key: new Uint8Array(32).fill(id) });

function files(path: string): string[] {
  return fs
    .readdirSync(path, { recursive: true, encoding: "utf8" })
    .map((name) => join(path, name))
    .filter((name) => fs.statSync(name).isFile());
}

function firstLog(path: string): { file: string; bytes: Buffer; salt: number } {
  const file = join(path, "wal", "0000000000000001.wal");
  const bytes = fs.readFileSync(file);
  return { file, bytes, salt: bytes.readUInt32LE(40) };
}

/** Where the first publish is in a log, from a place on: 16 bytes of head, then the body. */
function publishAt(bytes: Buffer, from = 128): { start: number; end: number } {
  let start = from;
  while (bytes[start + 8] !== 1) start += 16 + bytes.readUInt32LE(start + 4);
  return { start, end: start + 16 + bytes.readUInt32LE(start + 4) };
}

describe("encryption", () => {
  it("leaves nothing readable in the files, and is opened by the key alone", async () => {
    const path = temporaryFolder();
    const encryption = { keyProvider: () => keyOf(1) };
    let store = await openStore(path, { encryption });
    const fields = { topic: secretTopic, headers: { who: "secret-header" }, key: "secret-key", data: "secret-data" };
    await store.append([durable("secret-durable", ["payroll.>"])]);
    await store.append([publish(1, { ...fields, id: "secret-id", retain: true, dedupId: "secret-dedup" })]);
    await store.append([
      { type: "dead-letter-added", id: "secret-letter", message: message(1, fields), facts: "secret-fact" },
    ]);
    await store.checkpoint();
    await store.append([publish(2, { ...fields, deliverAt: 5 }), publish(3, fields)]);
    await store.close();
    for (const file of files(path)) {
      const content = fs.readFileSync(file, "latin1");
      expect(content.includes("secret"), file).toBe(false);
      expect(content.includes("payroll"), file).toBe(false);
    }
    await expect(openStore(path)).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
    const wrong = { keyProvider: () => ({ id: 1, key: new Uint8Array(32).fill(9) }) };
    await expect(openStore(path, { encryption: wrong })).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
    store = await openStore(path, { encryption });
    expect(await pendingSeqs(store, "secret-durable")).toEqual([1, 3]);
    expect(store.recovered.retained[0]?.data).toBe("secret-data");
    expect(store.recovered.deadLetters[0]?.facts).toBe("secret-fact");
  });

  it("takes bytes alone for the key of a store that has but one", async () => {
    const path = temporaryFolder();
    const encryption = { keyProvider: () => keyOf(1).key };
    let store = await openStore(path, { encryption });
    await store.append([durable("d", ["t"]), publish(1, { topic: "t" })]);
    await store.checkpoint();
    await store.close();
    const wrong = { keyProvider: () => keyOf(2).key };
    await expect(openStore(path, { encryption: wrong })).rejects.toMatchObject({ code: "ERR_WRONG_KEY" });
    const short = { keyProvider: () => new Uint8Array(16) };
    await expect(openStore(path, { encryption: short })).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
    store = await openStore(path, { encryption });
    expect(await pendingSeqs(store, "d")).toEqual([1]);
    await store.close();
  });

  it("rotates keys: the new one writes, the old ones still read", async () => {
    const path = temporaryFolder();
    const asked: (number | undefined)[] = [];
    const provider = (current: number, known: number[]) => (id?: number) => {
      asked.push(id);
      return id === undefined ? keyOf(current) : known.includes(id) ? keyOf(id) : undefined;
    };
    let store = await openStore(path, { encryption: { keyProvider: provider(1, [1]) } });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 5)) await store.append([publish(seq)]);
    await store.checkpoint();
    for (const seq of range(6, 8)) await store.append([publish(seq)]);
    await store.close();
    store = await openStore(path, { encryption: { keyProvider: provider(2, [1, 2]) } });
    expect(asked).toContain(1);
    await store.append([publish(9)]);
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 9));
    await store.checkpoint();
    await store.close();
    await expect(openStore(path, { encryption: { keyProvider: provider(3, [3]) } })).rejects.toMatchObject({
      code: "ERR_WRONG_KEY",
    });
    store = await openStore(path, { encryption: { keyProvider: provider(2, [1, 2]) } });
    expect(await pendingSeqs(store, "d")).toEqual(range(1, 9));
  });

  it("notices tampering with a record whose checksum was put right", async () => {
    const path = temporaryFolder();
    const encryption = { keyProvider: () => keyOf(1) };
    const store = await openStore(path, { encryption });
    await store.append([durable("d", [">"])]);
    await store.append([publish(1)]);
    await store.append([publish(2)]);
    await store.close();
    const { file, bytes, salt } = firstLog(path);
    const { start, end } = publishAt(bytes);
    bytes[end - 1] = (bytes[end - 1] ?? 0) ^ 1;
    bytes.writeUInt32LE(crc32(bytes, start + 4, end, salt), start);
    fs.writeFileSync(file, bytes);
    const again = await openStore(path, { encryption });
    expect(await pendingSeqs(again, "d")).toEqual([2]);
    expect(again.recoveryReport.log.quarantined).toMatchObject([{ reason: "undecodable" }]);
  });

  it("takes no record in the place of another", async () => {
    const path = temporaryFolder();
    const encryption = { keyProvider: () => keyOf(1) };
    const store = await openStore(path, { encryption });
    await store.append([durable("d", [">"])]);
    for (const seq of range(1, 3)) await store.append([publish(seq)]);
    await store.close();
    const { file, bytes, salt } = firstLog(path);
    const one = publishAt(bytes);
    const other = publishAt(bytes, one.end);
    bytes.copy(bytes, other.start + 16, one.start + 16, one.end);
    bytes.writeUInt32LE(crc32(bytes, other.start + 4, other.end, salt), other.start);
    fs.writeFileSync(file, bytes);
    const again = await openStore(path, { encryption });
    expect(await pendingSeqs(again, "d")).toEqual([1, 3]);
    expect(again.recoveryReport.log.quarantined).toMatchObject([{ reason: "undecodable" }]);
  });

  it("takes no record that was put in without the key, be its checksum right or not", async () => {
    const [path, plain] = [temporaryFolder(), temporaryFolder()];
    const encryption = { keyProvider: () => keyOf(1) };
    for (const [folder, data, options] of [
      [path, "real", { encryption }],
      [plain, "forged", {}],
    ] as const) {
      const store = await openStore(folder, options);
      await store.append([durable("d", [">"])]);
      for (const seq of [1, 2]) await store.append([publish(seq, { data })]);
      await store.close();
    }
    const log = firstLog(path);
    const [real, forged] = [publishAt(log.bytes), publishAt(firstLog(plain).bytes)];
    const record = Buffer.from(firstLog(plain).bytes.subarray(forged.start, forged.end));
    record.writeUInt32LE(crc32(record, 4, record.length, log.salt), 0);
    fs.writeFileSync(
      log.file,
      Buffer.concat([log.bytes.subarray(0, real.start), record, log.bytes.subarray(real.end)]),
    );
    const again = await openStore(path, { encryption });
    expect((await again.pending("d", 0, 10)).messages.map(({ message: { seq, data } }) => [seq, data])).toEqual([
      [2, "real"],
    ]);
    expect(again.recoveryReport.log.quarantined).toMatchObject([{ reason: "undecodable" }]);
  });

  it("takes no value that was put in without the key", async () => {
    const keys = await KeyRing.open(nodeCipher, () => keyOf(1));
    const parts = { crc32, gzip: zlibCompressor };
    const sealed = (one: KeyRing | undefined): Sealer => new Sealer(undefined, { ...parts, keys: one });
    const [key, value] = [Buffer.from("key"), Buffer.from("value")];
    expect(await sealed(keys).open(key, sealed(keys).sealPlain(key, value))).toEqual(value);
    await expect(sealed(keys).open(key, sealed(undefined).sealPlain(key, value))).rejects.toThrow(DamagedValue);
    expect(sealed(keys).openNow(key, sealed(undefined).sealPlain(key, value))).toBeUndefined();
  });

  it("does not take a plain log for its own, where the database is gone", async () => {
    const path = temporaryFolder();
    const store = await openStore(path);
    await store.append([durable("d", [">"]), publish(1)]);
    await store.close();
    fs.rmSync(join(path, "level"), { recursive: true });
    await expect(openStore(path, { encryption: { keyProvider: () => keyOf(1) } })).rejects.toMatchObject({
      code: "ERR_INVALID_OPTION",
    });
    const again = await openStore(path);
    expect(await pendingSeqs(again, "d")).toEqual([1]);
  });

  it("does not turn a plain store into an encrypted one unasked", async () => {
    const path = temporaryFolder();
    const store = await openStore(path);
    await store.append([publish(1)]);
    await store.close();
    await expect(openStore(path, { encryption: { keyProvider: () => keyOf(1) } })).rejects.toMatchObject({
      code: "ERR_INVALID_OPTION",
    });
  });
});
