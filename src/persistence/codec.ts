/** Payloads as bytes. */
import { brokerError, errorText, quote } from "../errors.js";
import { UndecodedPayload } from "../message/undecoded-payload.js";
import { readUtf8 } from "../platform/text-bytes.js";
import type { StructuredData } from "../platform/structured-data.js";
import { writeJson } from "./json-writer.js";
import { asBuffer } from "./store/bytes.js";
import { ByteReader } from "./wal/byte-reader.js";
import { ByteWriter } from "./wal/byte-writer.js";

/** A codec of the user's. Its name is stored with each payload, so that another one is never asked to decode it. */
export interface CustomCodec {
  /** Any text that is not empty. */
  readonly name: string;
  /** Throws for what it cannot carry; the publish is then refused with `ERR_INVALID_MESSAGE`. */
  encode(data: unknown): Uint8Array;
  /** The payload again. */
  decode(bytes: Uint8Array): unknown;
}

/**
 * How payloads are stored: `json`, `v8` (Map, Set, Date, BigInt, typed arrays, cycles), or one's own. A payload that
 * is a `Uint8Array` is stored as it is under any of them.
 */
export type CodecOption = "json" | "v8" | CustomCodec;

/** The codec's number in the log; part of the format. */
export const codecId = { bytes: 0, json: 1, v8: 2, custom: 3 } as const;

/** A payload that some codec has made already, on its way from one store into another. */
export class EncodedPayload {
  readonly codec: number;
  readonly payload: Uint8Array;

  constructor(codec: number, payload: Uint8Array) {
    this.codec = codec;
    this.payload = payload;
  }
}

/** Encodes with the chosen codec, and decodes what any of them made. */
export class PayloadCodec {
  readonly #option: CodecOption;
  readonly #structured: StructuredData;
  readonly #customHead: Uint8Array;

  constructor(option: CodecOption, structured: StructuredData) {
    this.#option = option;
    this.#structured = structured;
    const head = new ByteWriter(64);
    if (typeof option === "object") head.string(option.name);
    this.#customHead = head.bytes.subarray(0, head.length);
  }

  /** Throws `ERR_INVALID_MESSAGE` for what the codec cannot carry without loss. */
  encode(data: unknown): { readonly codec: number; readonly payload: Uint8Array } {
    const option = this.#option;
    if (data instanceof UndecodedPayload) return { codec: data.codec, payload: data };
    if (data instanceof Uint8Array) return { codec: codecId.bytes, payload: data };
    if (data instanceof EncodedPayload) return data;
    if (data === undefined) throw refused("undefined is no payload; use null", undefined);
    if (option === "json") return { codec: codecId.json, payload: encodeJson(data) };
    try {
      if (option === "v8") return { codec: codecId.v8, payload: this.#structured.serialize(data) };
      const body = option.encode(data);
      if (!(body instanceof Uint8Array)) throw new TypeError(`encode returned ${quote(body)}, not a Uint8Array`);
      return { codec: codecId.custom, payload: Buffer.concat([this.#customHead, body]) };
    } catch (cause) {
      throw refused(`the codec ${typeof option === "string" ? option : option.name} refused it`, cause);
    }
  }

  /**
   * Writes a payload at the writer's end and returns its codec's number: what `encode` answers, without an object or a copy
   * for what is plain data. Throws as `encode` does; what it has written by then means nothing.
   */
  write(out: ByteWriter, data: unknown): number {
    if (this.#option === "json") {
      const start = out.length;
      if (writeJson(out, data)) return codecId.json;
      out.length = start;
    }
    const { codec, payload } = this.encode(data);
    out.raw(payload);
    return codec;
  }

  /** Throws `ERR_STORE_CORRUPT` when the bytes are not the codec's, `ERR_INVALID_OPTION` when that codec is not here. */
  decode(codec: number, payload: Uint8Array): unknown {
    return this.decodePart(codec, asBuffer(payload), 0, payload.length);
  }

  /** The same for a payload that lies in `bytes[start … end)`, of which JSON needs no view. */
  decodePart(codec: number, bytes: Buffer, start: number, end: number): unknown {
    try {
      if (codec === codecId.json) return JSON.parse(readUtf8(bytes, start, end)) as unknown;
      const payload = bytes.subarray(start, end);
      // What these answer may be, or have, a view of the bytes, and theirs are the whole page's.
      if (codec === codecId.bytes) return new Uint8Array(payload);
      if (codec === codecId.v8) return this.#structured.deserialize(new Uint8Array(payload));
      if (codec === codecId.custom) return this.#decodeCustom(new Uint8Array(payload));
    } catch (cause) {
      if (cause instanceof Error && "code" in cause && cause.code === "ERR_INVALID_OPTION") throw cause;
      throw brokerError(
        "ERR_STORE_CORRUPT",
        `A stored payload cannot be decoded: ${errorText(cause)}`,
        { codec },
        cause,
      );
    }
    throw brokerError("ERR_STORE_CORRUPT", `A stored payload names codec ${codec}, which this version does not know`, {
      codec,
    });
  }

  #decodeCustom(payload: Uint8Array): unknown {
    const input = new ByteReader();
    const bytes = asBuffer(payload);
    input.reset(bytes, 0, bytes.length);
    const name = input.string();
    const option = this.#option;
    if (typeof option !== "object" || option.name !== name) {
      throw brokerError(
        "ERR_INVALID_OPTION",
        `The payload was stored with the codec ${quote(name)}; give it as "codec"`,
        {
          option: "codec",
          codec: name,
        },
      );
    }
    return option.decode(input.rest());
  }
}

/**
 * JSON without silent loss: what it would drop or change (a Map, a NaN, a class's instance, bytes inside an object) is refused.
 * As JSON does, objects with a `toJSON` (dates) become what that returns, members that are undefined or have a symbol for a
 * name are left out, and -0 becomes 0.
 */
function encodeJson(data: unknown): Uint8Array {
  let text: string | undefined;
  try {
    // First: it finds cycles and bigints, so that the walk need not.
    text = JSON.stringify(data);
  } catch (cause) {
    throw refused(`JSON cannot carry it (${errorText(cause).split("\n")[0] ?? ""}); ${instead}`, cause);
  }
  const problem = lossOf(data, "data");
  if (problem !== undefined) throw refused(problem, undefined);
  if (text === undefined) throw refused("JSON cannot carry data whose toJSON returns nothing", undefined);
  return Buffer.from(text, "utf8");
}

const instead = 'publish plain data, or use the codec "v8"';

/** What JSON would lose of a value, or undefined. The value has no cycle. */
function lossOf(value: unknown, path: string): string | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? undefined : `JSON cannot carry ${path}: ${value}`;
  if (typeof value === "function" || typeof value === "symbol") return `JSON cannot carry ${path}: ${quote(value)}`;
  if (typeof value !== "object" || value === null) return undefined;
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return value instanceof Date && Number.isNaN(value.getTime())
      ? `JSON cannot carry ${path}: an invalid date`
      : undefined;
  }
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item: unknown = value[index];
      const problem =
        item === undefined ? `JSON cannot carry ${path}[${index}]: undefined` : lossOf(item, `${path}[${index}]`);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  if (value instanceof Error) return `JSON cannot carry ${path}: an error; publish its message and code`;
  if (value instanceof Map || value instanceof Set || value instanceof RegExp || value instanceof Promise) {
    const advice = value instanceof Promise ? "await it first" : instead;
    return `JSON cannot carry ${path}: a ${value.constructor.name}; ${advice}`;
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `JSON cannot carry ${path}: bytes inside an object; publish the bytes themselves, or use the codec "v8"`;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // A plain object of any realm has none, or one that has none.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    const { name } = value.constructor;
    return `JSON cannot carry ${path}: a ${name}, which would come back as a plain object; publish one, or give it a toJSON`;
  }
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name];
    if (typeof member === "string") continue;
    const problem = lossOf(member, `${path}.${name}`);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function refused(why: string, cause: unknown): Error {
  return brokerError("ERR_INVALID_MESSAGE", `The payload cannot be stored: ${why}`, {}, cause);
}
