import { brokerError } from "../../errors.js";
import type { Checksum } from "../../platform/checksum.js";
import type { Compressor } from "../../platform/compressor.js";
import type { KeyRing } from "../key-ring.js";
import { ByteReader } from "../wal/byte-reader.js";
import { ByteWriter } from "../wal/byte-writer.js";
import { asBuffer } from "./bytes.js";
import { DamagedValue } from "./damaged-value.js";

/** Below this, compression does not pay. */
const plainBelowBytes = 256;

/** The memory for putting values together that is kept. */
const keptBytes = 1024 * 1024;

/** Where a value says whether it is encrypted; behind it, of one that is not, how it is compressed. */
const isEncryptedAt = 4;

/**
 * Values of the database, on their way in and out: compressed, encrypted, with a checksum over key and value, so that
 * neither a flipped bit nor a value under the wrong key passes for a message.
 *
 * `u32 crc · u8 isEncrypted · (u32 key id · nonce · tag) · u8 compression · varint length · (string name) · bytes`
 */
export class Sealer {
  readonly #compressor: Compressor | undefined;
  readonly #crc32: Checksum;
  readonly #keys: KeyRing | undefined;
  readonly #gzip: Compressor;
  /** What a value is put together in. */
  #out = new ByteWriter();

  /** @param compressor absent: nothing is compressed; what is compressed already can still be read if it is gzip */
  constructor(
    compressor: Compressor | undefined,
    parts: { readonly crc32: Checksum; readonly keys: KeyRing | undefined; readonly gzip: Compressor },
  ) {
    this.#compressor = compressor;
    this.#crc32 = parts.crc32;
    this.#keys = parts.keys;
    this.#gzip = parts.gzip;
  }

  /** The form that a topic's or a durable's name has in keys: a keyed hash where the store is encrypted. */
  nameInKeys(name: string): Uint8Array {
    return this.#keys === undefined ? Buffer.from(name, "utf8") : this.#keys.hashName(name);
  }

  async seal(key: Uint8Array, value: Uint8Array): Promise<Buffer> {
    const compressor = this.#compressor;
    if (compressor === undefined || value.length < plainBelowBytes) return this.#close(key, value, value, undefined);
    const small = await compressor.compress(value);
    const helps = small.length < value.length;
    return this.#close(key, value, helps ? small : value, helps ? compressor : undefined);
  }

  /** As `seal`, without compression. */
  sealPlain(key: Uint8Array, value: Uint8Array): Buffer {
    return this.#close(key, value, value, undefined);
  }

  #close(key: Uint8Array, value: Uint8Array, body: Uint8Array, compressor: Compressor | undefined): Buffer {
    const out = this.#out;
    out.length = 4;
    const keys = this.#keys;
    out.uint8(keys === undefined ? 0 : 1);
    const start = out.length + 4;
    if (keys !== undefined) out.length = start + keys.sealBytes;
    const isGzip = compressor?.name === "gzip";
    out.uint8(compressor === undefined ? 0 : isGzip ? 1 : 2);
    out.varint(value.length);
    if (compressor !== undefined && !isGzip) out.string(compressor.name);
    out.raw(body);
    if (keys !== undefined) {
      out.bytes.writeUInt32LE(keys.keyId, start - 4);
      keys.sealValue(key, out.bytes, start, out.length);
    }
    const sealed = Buffer.from(out.bytes.subarray(0, out.length));
    sealed.writeUInt32LE(this.#checksum(key, sealed), 0);
    if (out.bytes.length > keptBytes) this.#out = new ByteWriter();
    return sealed;
  }

  /** Rejects with `DamagedValue`, or with `ERR_WRONG_KEY`, `ERR_INVALID_OPTION` (it needs another compression). */
  async open(key: Uint8Array, sealed: Buffer): Promise<Buffer> {
    return this.openNow(key, sealed) ?? (await this.#openLater(key, sealed));
  }

  /**
   * The same for a value that is neither encrypted nor compressed, which is there at once; undefined for one that is. Throws
   * `DamagedValue`.
   */
  openNow(key: Uint8Array, sealed: Buffer): Buffer | undefined {
    this.#requireIntact(key, sealed);
    if (this.#keys !== undefined || sealed[isEncryptedAt] !== 0 || sealed[isEncryptedAt + 1] !== 0) return undefined;
    let at = isEncryptedAt + 2;
    while ((sealed[at++] ?? 0) >= 128);
    return sealed.subarray(at);
  }

  async #openLater(key: Uint8Array, sealed: Buffer): Promise<Buffer> {
    const inner = await this.#decrypt(key, sealed);
    try {
      const input = new ByteReader();
      input.reset(inner, 0, inner.length);
      const kind = input.uint8();
      const length = input.varint();
      if (kind === 0) return asBuffer(input.rest());
      const compressor = this.#compressorOf(kind, kind === 1 ? "gzip" : input.string());
      return asBuffer(await compressor.decompress(input.rest(), length));
    } catch (cause) {
      if (cause instanceof Error && "code" in cause && cause.code === "ERR_INVALID_OPTION") throw cause;
      throw new DamagedValue("the value cannot be decompressed", { cause });
    }
  }

  async #decrypt(key: Uint8Array, sealed: Buffer): Promise<Buffer> {
    if (sealed[isEncryptedAt] === 0) {
      // A checksum can be made without the key: whoever may write into the folder could put in what nobody published.
      if (this.#keys !== undefined) throw new DamagedValue("the value is not encrypted, as the store is");
      return sealed.subarray(isEncryptedAt + 1);
    }
    const keyId = sealed.readUInt32LE(5);
    if (this.#keys === undefined) {
      throw brokerError("ERR_WRONG_KEY", `The store is encrypted with key ${keyId}, and no key was given`, { keyId });
    }
    const plain = await this.#keys.openValue(keyId, key, sealed.subarray(9));
    if (plain === undefined) throw new DamagedValue("the value is not what was encrypted");
    return plain;
  }

  #requireIntact(key: Uint8Array, sealed: Buffer): void {
    if (sealed.length >= 7 && sealed.readUInt32LE(0) === this.#checksum(key, sealed)) return;
    throw new DamagedValue("the value's checksum is wrong");
  }

  #compressorOf(kind: number, name: string): Compressor {
    if (kind === 1) return this.#gzip;
    if (this.#compressor?.name === name) return this.#compressor;
    throw brokerError(
      "ERR_INVALID_OPTION",
      `The store holds blocks compressed by ${JSON.stringify(name)}; give it as "compression"`,
      {
        option: "compression",
        name,
      },
    );
  }

  #checksum(key: Uint8Array, sealed: Buffer): number {
    return this.#crc32(sealed, 4, sealed.length, this.#crc32(key, 0, key.length));
  }
}
