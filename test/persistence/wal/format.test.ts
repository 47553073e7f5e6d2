import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32 } from "../../../src/platform/checksum.js";
import { encodeSyncMark, encodeVoid } from "../../../src/persistence/wal/batch.js";
import { ByteWriter } from "../../../src/persistence/wal/byte-writer.js";
import { encodeEntry } from "../../../src/persistence/wal/entry-codec.js";
import type { WalEntry } from "../../../src/persistence/wal/entries.js";
import { beginRecord, endRecord, RecordFrame } from "../../../src/persistence/wal/record.js";
import { decodeSegmentHeader, encodeSegmentHeader, nameOfSegment } from "../../../src/persistence/wal/segment.js";
import type { SegmentHeader } from "../../../src/persistence/wal/segment.js";
import { FaultyFileSystem } from "../../support/faulty-file-system.js";
import { directory, openTestWal, plain } from "./fixture.js";

interface Vectors {
  readonly header: SegmentHeader & { readonly hex: string };
  readonly records: readonly {
    readonly hex: string;
    readonly lsn?: number;
    readonly entry?: unknown;
    readonly syncMark?: { readonly lsn: number; readonly syncedLsn: number };
    readonly void?: { readonly lsn: number; readonly count: number };
  }[];
}

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8")) as Vectors;

/** A vector's entry as the program has it: "bytes …" is a Uint8Array. */
function revive(value: unknown): unknown {
  if (typeof value === "string" && value.startsWith("bytes ")) return Buffer.from(value.slice(6), "hex");
  if (Array.isArray(value)) return value.map(revive);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]: [string, unknown]) => [name, revive(member)]));
}

const { salt } = vectors.header;

function hexOf(write: (out: ByteWriter) => void): string {
  const out = new ByteWriter(1);
  write(out);
  return out.bytes.subarray(0, out.length).toString("hex");
}

describe("the format", () => {
  it("of the header is that of the vectors", () => {
    const { hex, ...fields } = vectors.header;
    const header = { ...fields, keyId: 0, keyCheck: new Uint8Array(12) };
    expect(encodeSegmentHeader(header, crc32).toString("hex")).toBe(hex);
    expect(decodeSegmentHeader(Buffer.from(hex, "hex"), "x", crc32)).toEqual({ ...header, intactCopies: 2 });
  });

  it.each(vectors.records)(
    "of a record is that of the vectors ($hex)",
    ({ hex, lsn = 0, entry, syncMark, void: gap }) => {
      const written = hexOf((out) => {
        if (syncMark !== undefined) encodeSyncMark(out, syncMark.lsn, syncMark.syncedLsn, salt, crc32);
        else if (gap !== undefined) encodeVoid(out, gap.lsn, gap.count, salt, crc32);
        else {
          const start = beginRecord(out);
          endRecord(out, start, encodeEntry(out, revive(entry) as WalEntry), 0, lsn, salt, crc32);
        }
      });
      expect(written).toBe(hex);
    },
  );

  it("of a segment is that of the vectors", async () => {
    const disk = new FaultyFileSystem();
    const hex = vectors.header.hex + vectors.records.map((record) => record.hex).join("");
    disk.put(`${directory}/${nameOfSegment(vectors.header.id)}`, Buffer.from(hex, "hex"));
    const { records, report } = await openTestWal(disk);
    const expected = vectors.records.flatMap(({ lsn, entry }) => (entry === undefined ? [] : [{ lsn, entry }]));
    expect(plain(records)).toEqual(plain(expected));
    expect(report).toMatchObject({ cutBytes: 0, quarantined: [], warnings: [] });
  });

  it("of a frame shows any change of a byte, and never asks for more than the file has", () => {
    const anyBody = fc.uint8Array({ maxLength: 400 });
    const anyLsn = fc.integer({ min: 1, max: 2 ** 48 - 1 });
    fc.assert(
      fc.property(
        anyBody,
        anyLsn,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        fc.nat(),
        (body, lsn, at, change, seed) => {
          const out = new ByteWriter(1);
          const start = beginRecord(out);
          out.raw(body);
          endRecord(out, start, 1, 0, lsn, seed, crc32);
          const bytes = Buffer.from(out.bytes.subarray(0, out.length));
          const frame = new RecordFrame(seed, crc32);
          expect(frame.read(bytes, 0, bytes.length, bytes.length)).toBe("record");
          expect(frame).toMatchObject({ lsn, type: 1, flags: 0, bodyStart: 16, end: bytes.length });
          const index = at % bytes.length;
          bytes[index] = (bytes[index] as number) ^ change;
          expect(["mismatch", "torn"]).toContain(frame.read(bytes, 0, bytes.length, bytes.length));
          const inFile = bytes.length + 1000;
          const outcome = frame.read(bytes, 0, bytes.length, inFile);
          if (outcome === "more") expect(frame.neededBytes).toBeLessThanOrEqual(inFile);
        },
      ),
    );
  });

  it("tells the end, a torn record and a mismatch apart", () => {
    const bytes = Buffer.from(vectors.records[1]?.hex ?? "", "hex");
    const frame = new RecordFrame(salt, crc32);
    expect(frame.read(bytes, 0, 0, 0)).toBe("end");
    for (let length = 1; length < bytes.length; length++) expect(frame.read(bytes, 0, length, length)).toBe("torn");
    expect(frame.read(bytes, 0, 20, bytes.length)).toBe("more");
    expect(new RecordFrame(salt + 1, crc32).read(bytes, 0, bytes.length, bytes.length)).toBe("mismatch");
  });
});
