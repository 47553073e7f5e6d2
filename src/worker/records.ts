import type { FrameWriter } from "./frame-writer.js";
import type { PackedValues } from "./packed-values.js";
import { maxRecordKeys, maxShapes, recordKind, tell } from "./protocol.js";
import type { RecordKind } from "./protocol.js";

/** The keys that the records of one kind have, in order, how their values travel, and the number that stands for all that. */
export interface Shape {
  readonly number: number;
  /** The keys as one text. */
  readonly name: string;
  readonly keys: readonly string[];
  readonly kinds: readonly RecordKind[];
}

/** Characters of a text that travels among others. V8 copies so few out of a longer text; beyond, a part would keep the whole alive. */
const shortText = 12;
/** Shapes that are tried before the keys of a record are looked up. */
const recentShapes = 4;

/**
 * Finds the data that may travel as a record: a plain object of primitive values, such as most small messages are. Its keys are
 * said once for all of its shape, its numbers and short texts lie packed beside the batch, and other values among those of the
 * batch: so it costs a tenth of what the structured clone of an object does, and comes out the same.
 *
 * Everything else is left to structured clone: what is nested (parts may be one and the same, or lead back), what has another
 * prototype, functions and symbols, which it refuses, and a key `__proto__`, which no assignment makes.
 *
 * How a value travels is a matter of its shape: where one does not fit, its keys get another shape, which takes that too.
 */
export class Shapes {
  readonly #writer: FrameWriter;
  readonly #packed: PackedValues;
  /** The widest shape of each set of keys. */
  readonly #shapes = new Map<string, Shape>();
  /** The last ones, the latest first. */
  #recent: readonly Shape[] = [];
  #last: Shape | null = null;
  #said = 0;
  // Where the record that was found last ends among the packed values.
  #count = 0;
  #text = "";
  #others = 0;
  /** The values of what `find` has found that are not packed. */
  readonly #values: unknown[] = [];

  constructor(writer: FrameWriter) {
    this.#writer = writer;
    this.#packed = writer.packed;
  }

  /**
   * The shape of a record; null for what is none. The shape has been said before this returns, and the record is written by the
   * `take` that follows.
   */
  find(data: unknown): Shape | null {
    if (typeof data !== "object" || data === null || Object.getPrototypeOf(data) !== Object.prototype) return null;
    const last = this.#last;
    if (last !== null && this.#read(data as Values, last)) return last;
    for (const shape of this.#recent) {
      if (shape === last || !this.#read(data as Values, shape)) continue;
      this.#last = shape;
      return shape;
    }
    const shape = this.#shapeOf(data as Values);
    if (shape === null || !this.#read(data as Values, shape)) return null;
    this.#last = shape;
    // Where its keys had another shape, that took less.
    this.#recent = [shape, ...this.#recent.filter(({ name }) => name !== shape.name)].slice(0, recentShapes);
    return shape;
  }

  /** Writes the record that was found last: what is not packed to the batch. */
  take(batch: unknown[]): void {
    const packed = this.#packed;
    packed.count = this.#count;
    packed.text = this.#text;
    const values = this.#values;
    for (let index = 0; index < this.#others; index += 1) {
      batch.push(values[index]);
      values[index] = undefined;
    }
  }

  /** True where a plain object is a record of that shape. */
  #read(data: Values, { keys, kinds }: Shape): boolean {
    const packed = this.#packed;
    const { numbers } = packed;
    let { count, text } = packed;
    let index = 0;
    let others = 0;
    for (const key in data) {
      if (keys[index] !== key) return false;
      const value = data[key];
      switch (kinds[index]) {
        case recordKind.integer:
          if (!isInteger(value)) return false;
          numbers[count] = value;
          count += 1;
          break;
        case recordKind.number:
          if (typeof value !== "number") return false;
          numbers[count] = value;
          count += 1;
          break;
        case recordKind.text:
          if (typeof value !== "string" || value.length > shortText) return false;
          text += value;
          numbers[count] = text.length;
          count += 1;
          break;
        default:
          if (!isPrimitive(value)) return false;
          this.#values[others] = value;
          others += 1;
      }
      index += 1;
    }
    if (index !== keys.length) return false;
    this.#count = count;
    this.#text = text;
    this.#others = others;
    return true;
  }

  #shapeOf(data: Values): Shape | null {
    let count = 0;
    for (const key in data) {
      if (!isPrimitive(data[key])) return null;
      count += 1;
    }
    const keys = Object.keys(data);
    // Fewer than were found: some are inherited.
    if (keys.length !== count || count === 0 || count > maxRecordKeys || keys.includes("__proto__")) return null;
    const name = JSON.stringify(keys);
    const known = this.#shapes.get(name);
    const kinds = keys.map((key, index) => {
      const kind = kindOf(data[key]);
      return known === undefined ? kind : widened(known.kinds[index] as RecordKind, kind);
    });
    if (known?.kinds.every((kind, index) => kind === kinds[index]) === true) return known;
    // Too many: the others are cloned, since to say the keys of each would cost more.
    if (this.#said >= maxShapes) return null;
    const shape: Shape = { number: this.#said, name, keys, kinds };
    this.#said += 1;
    this.#shapes.set(name, shape);
    this.#writer.writeAhead([tell.shape, shape.number, keys, kinds]);
    return shape;
  }
}

type Values = Readonly<Record<string, unknown>>;

function isInteger(value: unknown): value is number {
  return typeof value === "number" && (value | 0) === value && !Object.is(value, -0);
}

function kindOf(value: unknown): RecordKind {
  if (isInteger(value)) return recordKind.integer;
  if (typeof value === "number") return recordKind.number;
  return typeof value === "string" && value.length <= shortText ? recordKind.text : recordKind.other;
}

/** The kind that takes what either takes. */
function widened(one: RecordKind, other: RecordKind): RecordKind {
  if (one === other) return one;
  const isNumber = one <= recordKind.number && other <= recordKind.number;
  return isNumber ? recordKind.number : recordKind.other;
}

function isPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case "object":
      return value === null;
    case "function":
    case "symbol":
      return false;
    default:
      return true;
  }
}
