/** What the log asks of encryption. Who holds the keys, and how it is done, is the store's. */

/** Bytes that sealing puts in front of a body: a nonce and a tag. */
export const sealBytes = 28;

/** Decrypts the body of a record; undefined when it is not what was sealed. */
export type BodyOpener = (type: number, lsn: number, sealed: Buffer) => Buffer | undefined;

export interface LogCipher {
  /** The key that new segments are written with; above 0. */
  readonly keyId: number;
  /** 12 bytes that tell this key from another. */
  readonly keyCheck: Uint8Array;
  /** Gets a key ready for `opener`. Throws `ERR_WRONG_KEY` when it cannot be had, or is not the one of the check. */
  prepare(keyId: number, keyCheck: Uint8Array, file: string): Promise<void>;
  /** For a segment of a key that was prepared; of any other, as of one that says it has none, nothing can be opened. */
  opener(keyId: number): BodyOpener;
  /** Encrypts `bytes[start + sealBytes … end)` in place, with the current key, and fills in what is before it. */
  seal(type: number, lsn: number, bytes: Buffer, start: number, end: number): void;
}

const noKeyCheck = new Uint8Array(12);

/** What a new segment's header says about the key. */
export function keyOf(cipher: LogCipher | undefined): { keyId: number; keyCheck: Uint8Array } {
  return { keyId: cipher?.keyId ?? 0, keyCheck: cipher?.keyCheck ?? noKeyCheck };
}
