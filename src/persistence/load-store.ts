import { brokerError } from "../errors.js";
import type { About } from "./about.js";
import { PayloadCodec } from "./codec.js";
import type { KeyRing } from "./key-ring.js";
import { databaseFormat, openDatabase, openKeys, replaceDatabase } from "./open-database.js";
import type { OpenedDatabase } from "./open-database.js";
import type { StoreSettings } from "./options.js";
import { loadDatabase } from "./recover.js";
import type { LoadResult } from "./recover.js";
import { retentionAsStored, retentionToStore } from "./retention-settings.js";
import { StoreState } from "./state.js";
import { DamagedValue } from "./store/damaged-value.js";
import { Sealer } from "./store/sealer.js";

/** A store's database, open, and what is known from it alone. */
export interface LoadedStore extends LoadResult {
  readonly opened: OpenedDatabase;
  /** What the database says about itself; of a new one, what it will say. */
  readonly about: About;
  readonly keys: KeyRing | undefined;
  readonly sealer: Sealer;
  readonly payloads: PayloadCodec;
  /** Its retention is the one that the log goes on under. */
  readonly state: StoreState;
}

/**
 * Opens a store's database and reads what is in it, but for messages. One that cannot be opened, or read to its end, is
 * moved aside, and a new one begun. Rejects as `StoreEngine.open` does; nothing is open then.
 */
export async function loadStore(settings: StoreSettings, mayWrite: boolean): Promise<LoadedStore> {
  const opened = await openDatabase(settings, mayWrite);
  try {
    return await load(settings, opened, mayWrite);
  } catch (error) {
    await opened.database.close().catch(() => undefined);
    if (!(error instanceof DamagedValue) || opened.finding === "broken") throw error;
    const replaced = await replaceDatabase(settings, error);
    try {
      return await load(settings, replaced, mayWrite);
    } catch (second) {
      await replaced.database.close().catch(() => undefined);
      throw second;
    }
  }
}

async function load(settings: StoreSettings, opened: OpenedDatabase, mayWrite: boolean): Promise<LoadedStore> {
  const { machine, clock, shownPath: path, recovery } = settings;
  const { crc32, gzip } = machine;
  const keys = await openKeys(settings, opened.about);
  const sealer = new Sealer(settings.compressor, { crc32, keys, gzip });
  // What the log holds was decided under the retention of then, which the database or the log itself tells.
  const stored = opened.about?.retention;
  const isAsStored = stored !== undefined || settings.retention === "stored";
  const retention = isAsStored ? retentionAsStored(stored) : settings.retention;
  const state = new StoreState({
    dedupWindowMs: settings.dedupWindowMs,
    dedupMaxEntries: settings.dedupMaxEntries,
    retention,
    now: () => clock.now(),
    nameInKeys: (name) => sealer.nameInKeys(name),
  });
  const found = opened.about ?? { format: databaseFormat, lsn: 0, seq: 0, generation: 0 };
  const result = await loadDatabase(opened.database, sealer, state, found, mayWrite);
  const { damaged, discrepancies } = result;
  if (recovery === "fail" && damaged.length + discrepancies.length > 0) {
    const missing = discrepancies.map(({ what, expected, found: there }) => `${what}: ${there} of ${expected}`);
    const what = [
      ...(damaged.length > 0 ? [`${damaged.length} values are damaged`] : []),
      ...(missing.length > 0 ? [`it does not hold what it should (${missing.join(", ")})`] : []),
    ].join("; ");
    const text = `The database in ${path} is damaged: ${what}. Open with recovery "quarantine" to go on without them, or restore a backup`;
    throw brokerError("ERR_STORE_CORRUPT", text, { path, damaged, discrepancies });
  }
  return {
    ...result,
    opened,
    about: { ...found, retention: retentionToStore(retention) },
    keys,
    sealer,
    payloads: new PayloadCodec(settings.codec, machine.structuredData),
    state,
  };
}
