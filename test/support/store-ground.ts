import { expect } from "vitest";
import { StoreEngine } from "../../src/persistence/engine.js";
import type { StoreOptions } from "../../src/persistence/options.js";
import { FaultyFileSystem, randomFrom } from "./faulty-file-system.js";
import { ManualClock } from "./manual-clock.js";
import { MemoryDatabase } from "./memory-database.js";

/**
 * A store in memory that can be ended and opened again. Its blocks are small, and no checkpoint comes by itself: what happens
 * to it is what a test does to it.
 */
export class StoreGround {
  readonly clock = new ManualClock(1_700_000_000_000);
  readonly #database = new MemoryDatabase();
  readonly #blockBytes: number;
  #disk = new FaultyFileSystem();
  #store: StoreEngine | undefined;

  constructor(blockBytes = 200) {
    this.#blockBytes = blockBytes;
  }

  get store(): StoreEngine {
    if (this.#store === undefined) throw new Error("open it first");
    return this.#store;
  }

  /** Opens it, and sees to it that nothing is damaged. */
  async open(retention: StoreOptions["retention"]): Promise<StoreEngine> {
    this.#store = await StoreEngine.open({
      path: "/store",
      blockBytes: this.#blockBytes,
      reserveBytes: 0,
      walBytes: 1e9,
      checkpointInterval: 1e15,
      clock: this.clock,
      random: randomFrom(1),
      machine: { fileSystem: this.#disk, openDatabase: this.#database.open },
      retention,
    });
    expect(this.#store.recoveryReport).toMatchObject({ damaged: [], discrepancies: [] });
    return this.#store;
  }

  /** Closes it; or pulls the plug, so that nothing is left but what was synced. */
  async end(isCrash = false): Promise<void> {
    if (isCrash) this.#disk = this.#disk.crash({ keep: "none" });
    else await this.store.close();
  }
}
