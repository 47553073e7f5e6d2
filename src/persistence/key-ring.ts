import { BrokerError, brokerError, errorText } from "../errors.js";
import { keyBytes, sealBytes } from "../platform/cipher.js";
import type { Cipher } from "../platform/cipher.js";
import type { BodyOpener, LogCipher } from "./wal/log-cipher.js";

/** A key for AES-256-GCM. */
export interface EncryptionKey {
  /** 1 to 2^32 - 1; written beside what the key encrypts. */
  readonly id: number;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/**
 * Gives the key with an id, or without one the key to encrypt with from now on. Called when the store opens, and
 * when it comes upon a key it has not seen. To rotate: return a new key when asked without an id, and the old ones
 * as long as the store holds something of theirs.
 */
export type KeyProvider = (id?: number) => GivenKey | undefined | Promise<GivenKey | undefined>;

/** A key with its id; or 32 bytes alone: the key that was asked for, or without an id key 1. */
export type GivenKey = EncryptionKey | Uint8Array;

/**
 * The keys of an encrypted store. Names in database keys are hashed with a key of their own, made from a secret that
 * is stored encrypted, so that rotation does not change them.
 */
export class KeyRing implements LogCipher {
  readonly #cipher: Cipher;
  readonly #provider: KeyProvider;
  readonly #keys = new Map<number, Uint8Array>();
  readonly keyId: number;
  readonly keyCheck: Uint8Array;
  readonly sealBytes = sealBytes;
  #nameKey: Uint8Array | undefined;

  private constructor(cipher: Cipher, provider: KeyProvider, current: EncryptionKey) {
    this.#cipher = cipher;
    this.#provider = provider;
    this.keyId = current.id;
    this.#keys.set(current.id, current.key);
    this.keyCheck = this.#check(current.key);
  }

  /** Throws `ERR_INVALID_OPTION` when the provider gives no usable key, `ERR_WRONG_KEY` when it throws. */
  static async open(cipher: Cipher, provider: KeyProvider): Promise<KeyRing> {
    const current = withId(1, await given(provider));
    if (current === undefined || !isKey(current)) {
      throw brokerError(
        "ERR_INVALID_OPTION",
        `encryption.keyProvider must return { id: 1 to 2^32 - 1, key: ${keyBytes} bytes }, or ${keyBytes} bytes alone, when it is called without an id`,
        { option: "encryption.keyProvider" },
      );
    }
    return new KeyRing(cipher, provider, current);
  }

  async prepare(keyId: number, keyCheck: Uint8Array, file: string): Promise<void> {
    const key = await this.#key(keyId, file);
    if (Buffer.compare(this.#check(key), keyCheck) !== 0) throw wrongKey(keyId, file, "is another one");
  }

  opener(keyId: number): BodyOpener {
    const key = this.#keys.get(keyId);
    return (type, lsn, sealed) =>
      key === undefined ? undefined : this.#cipher.open(key, recordContext(type, lsn), sealed);
  }

  seal(type: number, lsn: number, bytes: Buffer, start: number, end: number): void {
    this.#cipher.seal(this.#current, recordContext(type, lsn), bytes, start, end);
  }

  /** Encrypts `bytes[start + sealBytes … end)` in place, bound to the database key it is stored under. */
  sealValue(storedUnder: Uint8Array, bytes: Buffer, start: number, end: number): void {
    this.#cipher.seal(this.#current, storedUnder, bytes, start, end);
  }

  async openValue(keyId: number, storedUnder: Uint8Array, sealed: Buffer): Promise<Buffer | undefined> {
    const key = this.#keys.get(keyId) ?? (await this.#key(keyId, "the database"));
    return this.#cipher.open(key, storedUnder, sealed);
  }

  /** The secret for `useNameSecret`, for a new store. */
  newNameSecret(): Uint8Array {
    return this.#cipher.randomBytes(keyBytes);
  }

  useNameSecret(secret: Uint8Array): void {
    this.#nameKey = secret;
  }

  get nameSecret(): Uint8Array {
    if (this.#nameKey === undefined) throw new Error("the store's secret for names is not known yet");
    return this.#nameKey;
  }

  hashName(name: string): Uint8Array {
    return this.#cipher.keyedHash(this.nameSecret, name).subarray(0, 16);
  }

  get #current(): Uint8Array {
    return this.#keys.get(this.keyId) as Uint8Array;
  }

  async #key(keyId: number, where: string): Promise<Uint8Array> {
    const known = this.#keys.get(keyId);
    if (known !== undefined) return known;
    const answer = await given(this.#provider, keyId);
    const found = withId(keyId, answer);
    const isSame = answer instanceof Uint8Array && this.#isKnown(answer);
    if (found === undefined || !isKey(found) || found.id !== keyId || isSame) {
      throw wrongKey(keyId, where, `was not given by the keyProvider: keyProvider(${keyId}) must return it`);
    }
    this.#keys.set(keyId, found.key);
    return found.key;
  }

  /** A provider that has one key, and gives it whatever it is asked for. */
  #isKnown(key: Uint8Array): boolean {
    return [...this.#keys.values()].some((known) => Buffer.compare(known, key) === 0);
  }

  #check(key: Uint8Array): Uint8Array {
    return new Uint8Array(this.#cipher.keyedHash(key, "inproc-broker key check").subarray(0, 12));
  }
}

/** What the provider gives. Its error has no code of its own. */
async function given(provider: KeyProvider, keyId?: number): Promise<GivenKey | undefined> {
  try {
    return await (keyId === undefined ? provider() : provider(keyId));
  } catch (cause) {
    if (cause instanceof BrokerError) throw cause;
    const call = `encryption.keyProvider(${keyId ?? ""})`;
    throw brokerError(
      "ERR_WRONG_KEY",
      `${call} threw: ${errorText(cause)}`,
      keyId === undefined ? {} : { keyId },
      cause,
    );
  }
}

function withId(id: number, given: GivenKey | undefined): EncryptionKey | undefined {
  return given instanceof Uint8Array ? { id, key: given } : given;
}

function isKey(value: unknown): value is EncryptionKey {
  if (typeof value !== "object" || value === null) return false;
  const { id, key } = value as Partial<EncryptionKey>;
  return (
    Number.isInteger(id) &&
    Number(id) >= 1 &&
    Number(id) < 2 ** 32 &&
    key instanceof Uint8Array &&
    key.length === keyBytes
  );
}

function wrongKey(keyId: number, file: string, what: string): Error {
  return brokerError("ERR_WRONG_KEY", `${file} is encrypted with key ${keyId}, which ${what}`, { keyId, file });
}

/** A record's type and number: it cannot be passed off as another one. */
function recordContext(type: number, lsn: number): Uint8Array {
  const context = Buffer.alloc(9);
  context[0] = type;
  context.writeUInt32LE(lsn >>> 0, 1);
  context.writeUInt32LE(Math.floor(lsn / 0x100000000), 5);
  return context;
}
