/** Secrets: authenticated encryption and keyed hashes. */
import { createCipheriv, createDecipheriv, createHmac, randomFillSync } from "node:crypto";

/** Bytes of a key, of the nonce and the tag that go with what it sealed. */
export const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
/** What sealing adds. */
export const sealBytes = nonceBytes + tagBytes;

/** Authenticated encryption with AES-256-GCM. Synchronous: what is sealed here is at most some tens of KiB. */
export interface Cipher {
  /**
   * Encrypts `bytes[start + sealBytes … end)` where it stands, and puts the nonce (random, new each time) and the
   * tag in front of it, from `start` on. `context` is not stored; `open` must be given the same.
   */
  seal(key: Uint8Array, context: Uint8Array, bytes: Uint8Array, start: number, end: number): void;
  /** What was sealed, or undefined when the bytes, the key or the context are not those it was sealed with. */
  open(key: Uint8Array, context: Uint8Array, sealed: Uint8Array): Buffer | undefined;
  /** A hash that says nothing about the text to those without the key (HMAC-SHA-256). */
  keyedHash(key: Uint8Array, text: Uint8Array | string): Buffer;
  randomBytes(count: number): Buffer;
}

/** Nonces are drawn from a pool: one call for many. */
const pool = Buffer.alloc(nonceBytes * 256);
let used = pool.length;

function nextNonce(): Buffer {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += nonceBytes;
  return pool.subarray(used - nonceBytes, used);
}

/** AES-256-GCM by node:crypto. */
export const nodeCipher: Cipher = {
  seal(key, context, bytes, start, end) {
    const nonce = nextNonce();
    const cipher = createCipheriv("aes-256-gcm", key, nonce);
    cipher.setAAD(context);
    const body = bytes.subarray(start + sealBytes, end);
    body.set(cipher.update(body));
    cipher.final();
    bytes.set(nonce, start);
    bytes.set(cipher.getAuthTag(), start + nonceBytes);
  },
  open(key, context, sealed) {
    if (sealed.length < sealBytes) return undefined;
    const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, nonceBytes));
    decipher.setAAD(context);
    decipher.setAuthTag(sealed.subarray(nonceBytes, sealBytes));
    try {
      const plain = decipher.update(sealed.subarray(sealBytes));
      decipher.final();
      return plain;
    } catch {
      return undefined;
    }
  },
  keyedHash: (key, text) => createHmac("sha256", key).update(text).digest(),
  randomBytes: (count) => randomFillSync(Buffer.alloc(count)),
};
