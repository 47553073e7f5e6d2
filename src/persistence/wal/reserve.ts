import type { FileSystem } from "../../platform/file-system.js";
import { isDiskFull, writeAll } from "./segment.js";

/**
 * A file that only takes up room, so that a full disk still has some for acknowledgements: it is removed when
 * the disk is full, and made again when there is room.
 */
export class Reserve {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  readonly #bytes: number;

  /** @param bytes its size; 0 for no reserve */
  constructor(fileSystem: FileSystem, directory: string, bytes: number) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
    this.#bytes = bytes;
  }

  get #path(): string {
    return `${this.#directory}/${reserveName}`;
  }

  /** Makes the reserve, unless it is there. False when there is no room for it; then nothing is left behind. */
  async fill(): Promise<boolean> {
    if (this.#bytes === 0) return true;
    const found = await this.#fileSystem.stat(this.#path);
    if (found?.size === this.#bytes) return true;
    await this.#fileSystem.remove(this.#path);
    try {
      const file = await this.#fileSystem.create(this.#path);
      try {
        const filler = incompressible(Math.min(this.#bytes, 1024 * 1024));
        while (file.size < this.#bytes) {
          await writeAll(file, filler, 0, Math.min(filler.length, this.#bytes - file.size));
        }
        await file.datasync();
      } finally {
        await file.close();
      }
      await this.#fileSystem.syncDirectory(this.#directory);
      return true;
    } catch (error) {
      await this.#fileSystem.remove(this.#path).catch(() => undefined);
      if (isDiskFull(error)) return false;
      throw error;
    }
  }

  /** Whether making the reserve again is worth a try. A guess: only `fill` knows. */
  async hasRoom(): Promise<boolean> {
    return (await this.#fileSystem.freeBytes(this.#directory)) >= 2 * this.#bytes;
  }

  /** Gives the room up. */
  async release(): Promise<void> {
    if (this.#bytes === 0) return;
    await this.#fileSystem.remove(this.#path);
    await this.#fileSystem.syncDirectory(this.#directory);
  }
}

const reserveName = "reserve";

/** Bytes that a compressing file system cannot make small (xorshift32). */
function incompressible(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let x = 0x9e3779b9;
  for (let at = 0; at < length; at++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[at] = x;
  }
  return bytes;
}
