import { folderBytes } from "./backup.js";
import type { StoreSettings } from "./options.js";

/** Who asks for older figures has new ones made, for the next who asks. */
const freshMs = 1000;

/** Bytes on the disk. */
export interface DiskFigures {
  /** Of the store's files. */
  readonly totalBytes: number;
  /** That this process may still write. */
  readonly freeBytes: number;
}

/** What the store takes of its disk, and what is left: as of the last look, since a look is a trip to the disk. */
export class DiskUse {
  readonly #settings: StoreSettings;
  #last: DiskFigures = { totalBytes: 0, freeBytes: 0 };
  #lookedAt = -Infinity;
  #isLooking = false;

  constructor(settings: StoreSettings) {
    this.#settings = settings;
  }

  /** A second old at most, where somebody asks each second. */
  figures(): DiskFigures {
    const age = this.#settings.clock.monotonic() - this.#lookedAt;
    if (age >= freshMs && !this.#isLooking) void this.look();
    return this.#last;
  }

  /** Never rejects: where the disk cannot tell, the last figures stand. */
  async look(): Promise<void> {
    const { path, machine, clock } = this.#settings;
    this.#isLooking = true;
    this.#lookedAt = clock.monotonic();
    try {
      const totalBytes = await folderBytes(this.#settings, ["wal", "level"]);
      this.#last = { totalBytes, freeBytes: await machine.fileSystem.freeBytes(path) };
    } catch {
      // The next look.
    }
    this.#isLooking = false;
  }
}
