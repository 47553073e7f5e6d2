import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PayloadCodec } from "../../src/persistence/codec.js";
import { writeJson } from "../../src/persistence/json-writer.js";
import { ByteWriter } from "../../src/persistence/wal/byte-writer.js";
import { v8StructuredData } from "../../src/platform/structured-data.js";

/** What was written behind something else; null where the writer gave up. */
function written(data: unknown): string | null {
  const out = new ByteWriter(8);
  out.string("before");
  const start = out.length;
  return writeJson(out, data) ? out.bytes.toString("utf8", start, out.length) : null;
}

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.string({ unit: "grapheme", maxLength: 80 }),
  fc.string({ unit: "grapheme-ascii", maxLength: 200 }),
  fc.constantFrom('"', "\\", "\u007f", "\u0000", "\ud800", "\udc00 ", "ü".repeat(60), "__proto__", "constructor"),
);
const leaf = fc.oneof(
  text,
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.nat(),
  fc.constantFrom(null, true, false, 0, -0, 9, 10, 999_999_999, 1e9, 1e21, 5e-324),
);
const plain = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: "medium" }, leaf, tie("items"), tie("members")),
  items: fc.array(tie("value"), { maxLength: 6 }),
  members: fc.dictionary(text, fc.oneof(tie("value"), fc.constant(undefined)), { maxKeys: 6 }),
})).value;

class Order {
  id = 1;
}

const cycle: { self?: unknown } = {};
cycle.self = { items: [cycle] };

describe("writeJson", () => {
  it("writes what JSON.stringify does, byte for byte", () => {
    fc.assert(
      fc.property(plain, (data) => {
        expect(written(data)).toBe(JSON.stringify(data));
      }),
    );
  });

  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["an array with undefined", [undefined]],
    ["an array with a hole", Array(2)],
    ["NaN", { a: NaN }],
    ["Infinity", [-Infinity]],
    ["a bigint", { a: 1n }],
    ["a function", { a: () => 1 }],
    ["a symbol", { a: Symbol("s") }],
    ["a date", { a: new Date(0) }],
    ["a Map", new Map()],
    ["bytes", new Uint8Array(2)],
    ["a text in a box", { a: Object("text") as unknown }],
    ["an object of a class", new Order()],
    ["an object that says what it is as JSON", { a: { toJSON: () => 1 } }],
    ["one that says so out of sight", Object.defineProperty({ a: 1 }, "toJSON", { value: () => 1 })],
    ["a cycle", cycle],
  ])("leaves %s to others", (_what, data) => {
    expect(written(data)).toBeNull();
  });

  it("leaves everything to others where each object has a member that is not its own", () => {
    Object.defineProperty(Object.prototype, "everywhere", { value: 1, enumerable: true, configurable: true });
    const meanwhile = written({ a: 1 });
    delete (Object.prototype as { everywhere?: number }).everywhere;
    expect(meanwhile).toBeNull();
    expect(written({ a: 1 })).toBe('{"a":1}');
  });
});

describe("a codec that writes", () => {
  it.each(["json", "v8"] as const)("makes of anything what it makes when it encodes: %s", (option) => {
    const codec = new PayloadCodec(option, v8StructuredData);
    const encoded = (data: unknown): unknown => {
      try {
        const { codec: number, payload } = codec.encode(data);
        return [number, Buffer.from(payload).toString("hex")];
      } catch (error) {
        return (error as Error).message;
      }
    };
    const viaWriter = (data: unknown): unknown => {
      const out = new ByteWriter(8);
      try {
        return [codec.write(out, data), out.bytes.toString("hex", 0, out.length)];
      } catch (error) {
        return (error as Error).message;
      }
    };
    const anything = fc.oneof(
      plain,
      fc.uint8Array(),
      fc.anything({ withBigInt: true, withDate: true, withMap: true, withTypedArray: true, withSparseArray: true }),
    );
    fc.assert(
      fc.property(anything, (data) => {
        expect(viaWriter(data)).toEqual(encoded(data));
      }),
    );
  });
});
