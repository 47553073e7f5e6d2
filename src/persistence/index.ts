/**
 * inproc-broker/persistence: a crash-safe store on the local disk.
 *
 * @packageDocumentation
 */

export { levelPersistence } from "./level-persistence.js";
export type { LevelPersistence, LevelPersistenceOptions } from "./level-persistence.js";
export type { CodecOption, CustomCodec } from "./codec.js";
export type { EncryptionKey, KeyProvider } from "./key-ring.js";
export type { RetentionPolicy } from "./retention.js";
export type { RecoveryPolicy } from "./wal/recovery.js";
export type { Durability } from "./wal/writer.js";
export type { Compressor } from "../platform/compressor.js";
