import { recordKind } from "./protocol.js";
import type { RecordKind } from "./protocol.js";

/** What came with a batch, and where in it the next record begins. */
export interface RecordSource {
  readonly numbers: ArrayLike<number>;
  numberAt: number;
  readonly text: string;
  textAt: number;
  readonly values: readonly unknown[];
  valueAt: number;
}

type Make = (
  numbers: ArrayLike<number>,
  numberAt: number,
  text: string,
  textAt: number,
  values: readonly unknown[],
  valueAt: number,
) => Record<string, unknown>;

/** Records of a shape after which a function of their own pays. */
const manyRecords = 64;

/**
 * Makes the records of one shape.
 *
 * From the 64th on by a function that is compiled for the shape: an object literal is made in a quarter of the time in which an
 * object of given keys is filled. Where code may not be made from texts (`--disallow-code-generation-from-strings`), by the latter.
 */
export class RecordMaker {
  readonly #keys: readonly string[];
  readonly #kinds: readonly RecordKind[];
  /** Of each record: numbers, values that are not packed, and where among the numbers its texts end; -1 without texts. */
  readonly #numbers: number;
  readonly #others: number;
  readonly #lastText: number;
  #make: Make;
  #untilCompiled = manyRecords;

  constructor(keys: readonly string[], kinds: readonly RecordKind[]) {
    // As keys of an object they are unique in their thread, which makes using them as keys cheaper.
    this.#keys = Object.keys(Object.fromEntries(keys.map((key) => [key, null])));
    this.#kinds = kinds;
    const packed = kinds.filter((kind) => kind !== recordKind.other);
    this.#numbers = packed.length;
    this.#others = kinds.length - packed.length;
    this.#lastText = packed.lastIndexOf(recordKind.text);
    this.#make = filling(this.#keys, kinds);
  }

  /** Makes the next record, and moves on. */
  next(source: RecordSource): Record<string, unknown> {
    if (this.#untilCompiled > 0) this.#count();
    const { numbers, numberAt } = source;
    const record = this.#make(numbers, numberAt, source.text, source.textAt, source.values, source.valueAt);
    if (this.#lastText >= 0) source.textAt = numbers[numberAt + this.#lastText] as number;
    source.numberAt = numberAt + this.#numbers;
    source.valueAt += this.#others;
    return record;
  }

  #count(): void {
    this.#untilCompiled -= 1;
    if (this.#untilCompiled === 0) this.#make = compiled(this.#keys, this.#kinds) ?? this.#make;
  }
}

/** A function that fills an object key by key. */
function filling(keys: readonly string[], kinds: readonly RecordKind[]): Make {
  return (numbers, numberAt, text, textAt, values, valueAt) => {
    const record: Record<string, unknown> = {};
    let index = 0;
    for (const key of keys) {
      const kind = kinds[index];
      index += 1;
      if (kind === recordKind.other) {
        record[key] = values[valueAt];
        valueAt += 1;
        continue;
      }
      const number = numbers[numberAt] as number;
      numberAt += 1;
      if (kind === recordKind.text) {
        record[key] = text.slice(textAt, number);
        textAt = number;
      } else record[key] = kind === recordKind.integer ? number | 0 : number;
    }
    return record;
  };
}

/** The same as a function for one shape; null where that may not be. Its keys are quoted: whatever they are, they are texts there. */
function compiled(keys: readonly string[], kinds: readonly RecordKind[]): Make | null {
  let numbers = 0;
  let others = 0;
  let textAt = "textAt";
  const parts = keys.map((key, index) => {
    const name = `${JSON.stringify(key)}: `;
    const kind = kinds[index];
    if (kind === recordKind.other) {
      others += 1;
      return `${name}values[valueAt + ${others - 1}]`;
    }
    const number = `numbers[numberAt + ${numbers}]`;
    numbers += 1;
    if (kind === recordKind.integer) return `${name}${number} | 0`;
    if (kind === recordKind.number) return name + number;
    const begin = textAt;
    textAt = number;
    return `${name}text.slice(${begin}, ${number})`;
  });
  try {
    // eslint-disable-next-line @typescript-eslint/no-implied-eval -- nothing of it but quoted keys comes from outside
    return new Function(
      "numbers",
      "numberAt",
      "text",
      "textAt",
      "values",
      "valueAt",
      `"use strict"; return { ${parts.join(", ")} };`,
    ) as Make;
  } catch {
    return null;
  }
}
