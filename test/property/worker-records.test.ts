import fc from "fast-check";
import { expect, it } from "vitest";
import { FrameReader } from "../../src/worker/frame-reader.js";
import { FrameWriter } from "../../src/worker/frame-writer.js";
import { tell } from "../../src/worker/protocol.js";
import type { RecordKind } from "../../src/worker/protocol.js";
import { RecordMaker } from "../../src/worker/record-maker.js";
import { Shapes } from "../../src/worker/records.js";

/** What comes out at the other end of a channel that copies as structured clone does. */
function sentAndRead(all: readonly object[]): unknown[] {
  const came: unknown[] = [];
  const makers: RecordMaker[] = [];
  const read = (batch: readonly unknown[]): void => {
    const frames = new FrameReader(batch);
    while (frames.hasMore) {
      if (frames.number() === tell.shape) {
        const number = frames.number();
        makers[number] = new RecordMaker(frames.next() as string[], frames.next() as RecordKind[]);
      } else {
        const maker = makers[frames.number()] as RecordMaker;
        frames.beginRecords();
        came.push(frames.record(maker));
      }
    }
  };
  const link = {
    start: () => undefined,
    hold: () => undefined,
    close: () => undefined,
    send: (batch: readonly unknown[]) => read(structuredClone(batch)),
  };
  const writer = new FrameWriter(link, () => undefined);
  const shapes = new Shapes(writer);
  for (const data of all) {
    const shape = shapes.find(data);
    if (shape === null) {
      writer.flush();
      came.push(structuredClone(data));
      continue;
    }
    const batch = writer.begin();
    batch.push(tell.deliverRecords, shape.number, writer.packed.count, writer.packed.text.length);
    shapes.take(batch);
    writer.end();
  }
  writer.flush();
  return came;
}

const value = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.string({ maxLength: 16, unit: "binary" }),
  fc.bigInt(),
  fc.constantFrom(
    0,
    -0,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    2 ** 53,
    null,
    undefined,
    true,
    false,
    "",
    "\ud83d",
    "\ude00",
  ),
);
const key = fc.oneof(fc.constantFrom("id", "name", "amount", "0", "__proto__", '"'), fc.string({ unit: "binary" }));
/** A few sets of keys that come again and again, with values of any kind. */
const records = fc.array(fc.uniqueArray(key, { maxLength: 5 }), { minLength: 1, maxLength: 6 }).chain((sets) =>
  fc.array(
    fc.constantFrom(...sets).chain((keys) =>
      fc.array(value, { minLength: keys.length, maxLength: keys.length }).map((values) =>
        // As JSON.parse does, this makes an own key of __proto__.
        Object.fromEntries(keys.map((name, index) => [name, values[index]])),
      ),
    ),
    { maxLength: 300 },
  ),
);

it("records come out as structured clone makes them, keys in their order", () => {
  fc.assert(
    fc.property(records, (all) => {
      const came = sentAndRead(all);
      expect(came).toStrictEqual(all.map((one) => structuredClone(one)));
      expect(came.map((one) => Object.keys(one as object))).toEqual(all.map((one) => Object.keys(one)));
    }),
  );
});
