import type { Topic } from "./durable.js";

const chunkEntries = 4096;

/** What is known of a message in the log. */
export const indexFlag = {
  /** It was published with a level that waits for the disk: not to be seen before it is there. */
  needsSync: 1,
  /** No durable was there for it when it came. */
  isUnclaimed: 2,
} as const;

interface Chunk {
  readonly seqs: Float64Array;
  readonly lsns: Float64Array;
  /** 0: never. */
  readonly expiresAt: Float64Array;
  readonly flags: Uint8Array;
  readonly bytes: Uint32Array;
  readonly topics: (Topic | undefined)[];
  count: number;
  /** Of all that were ever put into it. */
  totalBytes: number;
  /** The highest of those that need a sync; 0: none does. */
  needsSyncLsn: number;
  /** When the first of those that were ever put into it expires; Infinity: none does. */
  firstExpiry: number;
}

/**
 * The messages that are in the log and in no block, in the order of their numbers: 37 bytes each, whatever their
 * size. The messages themselves stay in the log.
 */
export class LogIndex {
  readonly #chunks: Chunk[] = [];
  /** Entries at the front of the first chunk that are gone. */
  #skip = 0;
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** What its messages take in the log. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The lowest number; Infinity when there is none. */
  get firstSeq(): number {
    return this.#chunks[0]?.seqs[this.#skip] ?? Infinity;
  }

  get lastSeq(): number {
    const last = this.#chunks.at(-1);
    return last === undefined ? 0 : (last.seqs[last.count - 1] as number);
  }

  /** Adds the newest message, which takes `bytes` in the log; `seq` and `lsn` must not be below those before it. */
  push(seq: number, lsn: number, topic: Topic, expiresAt: number, flags: number, bytes: number): void {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.count === chunkEntries) {
      chunk = {
        seqs: new Float64Array(chunkEntries),
        lsns: new Float64Array(chunkEntries),
        expiresAt: new Float64Array(chunkEntries),
        flags: new Uint8Array(chunkEntries),
        bytes: new Uint32Array(chunkEntries),
        topics: [],
        count: 0,
        totalBytes: 0,
        needsSyncLsn: 0,
        firstExpiry: Infinity,
      };
      this.#chunks.push(chunk);
    }
    const at = chunk.count++;
    chunk.seqs[at] = seq;
    chunk.lsns[at] = lsn;
    chunk.expiresAt[at] = expiresAt;
    chunk.flags[at] = flags;
    chunk.bytes[at] = bytes;
    chunk.totalBytes += bytes;
    if ((flags & indexFlag.needsSync) !== 0) chunk.needsSyncLsn = lsn;
    if (expiresAt !== 0 && expiresAt < chunk.firstExpiry) chunk.firstExpiry = expiresAt;
    chunk.topics.push(topic);
    topic.inLog++;
    this.#size++;
    this.#bytes += bytes;
  }

  /** Whether a message may have expired by then. */
  mayHaveExpired(by: number): boolean {
    return this.#chunks.some(({ firstExpiry }) => firstExpiry <= by);
  }

  /**
   * Calls `visit` for each message above `afterSeq`, in order, until it returns false.
   *
   * @param expiredBy only those that have expired by then
   */
  scan(
    afterSeq: number,
    visit: (seq: number, lsn: number, topic: Topic, expiresAt: number, flags: number, bytes: number) => boolean,
    expiredBy?: number,
  ): void {
    const { chunk: first, at: start } = this.#find(afterSeq);
    for (let index = first; index < this.#chunks.length; index++) {
      const { seqs, lsns, expiresAt, flags, bytes, topics, count, firstExpiry } = this.#chunks[index] as Chunk;
      if (expiredBy !== undefined && firstExpiry > expiredBy) continue;
      for (let at = index === first ? start : 0; at < count; at++) {
        const expiry = expiresAt[at] as number;
        if (expiredBy !== undefined && (expiry === 0 || expiry > expiredBy)) continue;
        const seq = seqs[at] as number;
        const topic = topics[at] as Topic;
        if (!visit(seq, lsns[at] as number, topic, expiry, flags[at] as number, bytes[at] as number)) return;
      }
    }
  }

  /**
   * Calls `visit` for each message, newest first, until it returns false. Messages that lie together are not visited one by
   * one where `skips`, told how many they are and what they take, says so. What readers do not see yet is left out.
   *
   * @param syncedLsn what is in the log through it is on the disk
   */
  scanBack(
    syncedLsn: number,
    visit: (seq: number, topic: Topic, flags: number, bytes: number) => boolean,
    skips: (count: number, bytes: number) => boolean,
  ): void {
    let { chunk: index, at: end } = this.#endOfSeen(syncedLsn);
    for (; index >= 0; index--) {
      const { seqs, flags, bytes, topics, count, totalBytes } = this.#chunks[index] as Chunk;
      const from = index === 0 ? this.#skip : 0;
      const isWhole = from === 0 && end >= count;
      const start = Math.min(end, count) - 1;
      end = Infinity;
      if (isWhole && skips(count, totalBytes)) continue;
      for (let at = start; at >= from; at--) {
        if (!visit(seqs[at] as number, topics[at] as Topic, flags[at] as number, bytes[at] as number)) return;
      }
    }
  }

  /** Behind the last message that readers see. */
  #endOfSeen(syncedLsn: number): { chunk: number; at: number } {
    let end = { chunk: this.#chunks.length - 1, at: Infinity };
    for (let index = this.#chunks.length - 1; index >= 0; index--) {
      const { lsns, flags, count, needsSyncLsn } = this.#chunks[index] as Chunk;
      const from = index === 0 ? this.#skip : 0;
      if (needsSyncLsn <= syncedLsn && (lsns[from] as number) > syncedLsn) continue;
      for (let at = count - 1; at >= from; at--) {
        if ((lsns[at] as number) <= syncedLsn) return end;
        if (((flags[at] as number) & indexFlag.needsSync) !== 0) end = { chunk: index, at };
      }
    }
    return end;
  }

  /** Forgets the messages through `seq`; returns the topics that lost messages. */
  dropThrough(seq: number): Set<Topic> {
    const touched = new Set<Topic>();
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      while (this.#skip < chunk.count && (chunk.seqs[this.#skip] as number) <= seq) {
        const topic = chunk.topics[this.#skip] as Topic;
        chunk.topics[this.#skip] = undefined;
        topic.inLog--;
        touched.add(topic);
        this.#bytes -= chunk.bytes[this.#skip] as number;
        this.#skip++;
        this.#size--;
      }
      if (this.#skip < chunk.count) break;
      if (this.#chunks.length === 1 && chunk.count < chunkEntries) {
        // The chunk that is being filled: nothing of it is left.
        this.#chunks.pop();
        this.#skip = 0;
        break;
      }
      this.#chunks.shift();
      this.#skip = 0;
    }
    return touched;
  }

  /** Where the first message above `seq` is. */
  #find(seq: number): { chunk: number; at: number } {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const chunk = this.#chunks[middle] as Chunk;
      if ((chunk.seqs[chunk.count - 1] as number) > seq) high = middle;
      else low = middle + 1;
    }
    const chunk = this.#chunks[low];
    if (chunk === undefined) return { chunk: low, at: 0 };
    let from = low === 0 ? this.#skip : 0;
    let to = chunk.count;
    while (from < to) {
      const middle = (from + to) >> 1;
      if ((chunk.seqs[middle] as number) > seq) to = middle;
      else from = middle + 1;
    }
    return { chunk: low, at: from };
  }
}
