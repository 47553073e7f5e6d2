import type { Persistence } from "../../src/index.js";
import { InProcBroker } from "../../src/index.js";
import { levelPersistence } from "../../src/persistence/index.js";
import type { ConformanceOptions, ConformanceSetup, Implementation } from "../../src/conformance/index.js";
import { FaultyFileSystem } from "../support/faulty-file-system.js";
import { ManualClock } from "../support/manual-clock.js";
import { MemoryDatabase } from "../support/memory-database.js";

/** What the broker on a store does not support, and why. */
export const storeSupports: NonNullable<ConformanceSetup["supports"]> = {
  sync: "publishSync does not wait for a store",
  timers: "the store has timers of its own",
};

interface Disk {
  readonly files: FaultyFileSystem;
  readonly database: MemoryDatabase;
}

/** Opens a broker on a store in memory that a crash can be made of, on a clock that the cases move; `bend` makes another store of it. */
export async function openOnStore(
  options: ConformanceOptions,
  clock = new ManualClock(),
  disk: Disk = { files: new FaultyFileSystem(), database: new MemoryDatabase() },
  bend: (persistence: Persistence) => Persistence = (whole) => whole,
): Promise<Implementation> {
  const machine = { fileSystem: disk.files, openDatabase: disk.database.open };
  const persistence = bend(levelPersistence({ path: "/store", reserveBytes: 0, machine }));
  const broker = await InProcBroker.open({ ...options, clock, persistence });
  return {
    broker,
    advance: (ms) => clock.advance(ms),
    pendingTimers: () => clock.pending,
    reopen: async () => {
      await broker.close({ drain: false });
      return openOnStore(options, clock, disk, bend);
    },
    crash: () =>
      openOnStore(options, clock, { files: disk.files.crash({ keep: "none" }), database: disk.database.copy() }, bend),
  };
}
