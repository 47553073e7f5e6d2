import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { InProcBroker } from "inproc-broker";
import { levelPersistence } from "inproc-broker/persistence";
import type { LevelPersistenceOptions } from "inproc-broker/persistence";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import type { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";

export const dedupWindow = 400;
export const maxDeliveries = 4;

/** A place that a store lives in, and what a crash leaves of it. */
export interface Place {
  /** Another place, with what is found after a crash now. */
  crash(): Place;
  open(clock: ManualClock, retention: LevelPersistenceOptions["retention"]): Promise<InProcBroker>;
  remove(): void;
}

async function openBroker(
  store: LevelPersistenceOptions,
  clock: ManualClock,
  retention: LevelPersistenceOptions["retention"],
): Promise<InProcBroker> {
  return InProcBroker.open({
    persistence: levelPersistence({
      reserveBytes: 0,
      checkpointInterval: 1e9,
      ...store,
      ...(retention === undefined ? {} : { retention }),
    }),
    clock,
    random: () => 0.5,
    transactions: {},
    deadLetter: { reasons: ["max-deliveries", "rejected"] },
    dedup: { window: dedupWindow },
    ack: { timeout: 1e9, maxDeliveries, backoff: (count) => count * 20 },
  });
}

/** In memory; a crash is a power cut: what was not synced is gone. */
export class MemoryPlace implements Place {
  readonly #files: FaultyFileSystem;
  readonly #database: MemoryDatabase;

  constructor(files = new FaultyFileSystem(), database = new MemoryDatabase()) {
    this.#files = files;
    this.#database = database;
  }

  crash(): Place {
    return new MemoryPlace(this.#files.crash({ keep: "none" }), this.#database.copy());
  }

  open(clock: ManualClock, retention: LevelPersistenceOptions["retention"]): Promise<InProcBroker> {
    const machine = { fileSystem: this.#files, openDatabase: this.#database.open };
    return openBroker({ path: "/store", machine }, clock, retention);
  }

  remove(): void {
    // The garbage collector does.
  }
}

/** A folder, with LevelDB; a crash is the end of the process. */
export class FolderPlace implements Place {
  readonly #path = fs.mkdtempSync(join(tmpdir(), "broker model "));

  crash(): Place {
    const copy = new FolderPlace();
    fs.cpSync(this.#path, copy.#path, {
      recursive: true,
      filter: (source) => !["lock", "LOCK"].includes(basename(source)),
    });
    return copy;
  }

  open(clock: ManualClock, retention: LevelPersistenceOptions["retention"]): Promise<InProcBroker> {
    return openBroker({ path: this.#path }, clock, retention);
  }

  remove(): void {
    fs.rmSync(this.#path, { recursive: true, force: true });
  }
}
