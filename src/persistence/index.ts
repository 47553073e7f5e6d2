/**
 * inproc-broker/persistence: a crash-safe store on the local disk.
 *
 * @packageDocumentation
 */

export { levelPersistence } from "./level-persistence.js";
export type { LevelPersistence, LevelPersistenceOptions } from "./level-persistence.js";
export { StoreInspector } from "./inspect.js";
export type {
  DurableSummary,
  FileSummary,
  InspectOptions,
  StoreSummary,
  TopicSummary,
  VerifyReport,
} from "./inspect.js";
export { exportStore } from "./export.js";
export type { ExportOptions, ExportResult } from "./export.js";
export type { ExportSelection } from "./export-lines.js";
export { importStore } from "./import.js";
export type { ImportOptions, ImportResult } from "./import.js";
export { backupStore, compactStore } from "./offline.js";
export type { BackupOptions, CompactOptions, CompactResult } from "./offline.js";
export type { BackupResult } from "./backup.js";
export { restoreStore } from "./restore.js";
export type { RestoreOptions, RestoreResult } from "./restore.js";
export type { StoreOptions } from "./options.js";
export type { MessageFields, StoredMessage } from "./operations.js";
export type { HistoryPoint, ReplayOptions } from "./replay.js";
export type { Progress, WorkOptions } from "../platform/progress.js";
export type { CodecOption, CustomCodec } from "./codec.js";
export type { EncryptionKey, GivenKey, KeyProvider } from "./key-ring.js";
export type { RetentionPolicy, StoredRetention } from "./retention-settings.js";
export type { RecoveryPolicy } from "./wal/recovery.js";
export type { Durability } from "./wal/durability.js";
export type { Compressor } from "../platform/compressor.js";
export type { LockHolder } from "../platform/lock-file.js";
