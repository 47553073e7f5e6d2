import type { Topic } from "./durable.js";
import { markOf } from "./ledger.js";
import { Block } from "./store/block.js";
import { BlockBuilder } from "./store/block-builder.js";
import { decodeFacts, encodeFacts } from "./store/block-facts.js";
import { blockKey, factsKey } from "./store/keys.js";
import type { Change, KeyValueStore } from "./store/level-store.js";
import type { Sealer } from "./store/sealer.js";
import type { PublishEntry } from "./wal/entries.js";

/** Changes that go into the database together, in bytes. */
const batchBytes = 1024 * 1024;
/** Blocks that go into the database together, however small they are. */
const batchBlocks = 512;

export interface BlockWriterOptions {
  readonly database: () => KeyValueStore;
  readonly sealer: Sealer;
  /** A block is full at this many bytes. */
  readonly blockBytes: number;
  /** Bytes of unfinished blocks in memory. */
  readonly bufferBytes: number;
}

/** Closes a builder into a block: what the database has to take for it, and the block. */
export async function sealBlock(
  sealer: Sealer,
  builder: BlockBuilder,
  topic: Topic,
  generation: number,
  ordinal: number,
): Promise<{ block: Block; changes: Change[] }> {
  const { raw, facts } = builder.finish();
  const key = blockKey(sealer.nameInKeys(topic.name), facts.firstSeq);
  const value = await sealer.seal(key, raw);
  facts.storedBytes = value.length;
  const aboutIt = factsKey(generation, ordinal);
  const encoded = encodeFacts(topic.name, facts);
  const sealedFacts = sealer.sealPlain(aboutIt, encoded);
  return {
    block: new Block(generation, ordinal, topic, decodeFacts(encoded).facts, markOf(sealedFacts)),
    changes: [
      { key, value },
      { key: aboutIt, value: sealedFacts },
    ],
  };
}

/** The changes that remove a block. */
export function removalOf(block: Block, sealer: Sealer): Change[] {
  return [
    { key: blockKey(sealer.nameInKeys(block.topic.name), block.firstSeq), value: undefined },
    { key: factsKey(block.generation, block.ordinal), value: undefined },
  ];
}

/** Of one topic: the blocks that are not full. */
interface Builders {
  claimed?: BlockBuilder | undefined;
  unclaimed?: BlockBuilder | undefined;
}

/** Sorts messages by topic into blocks, and writes these to the database in batches. Memory is bounded. */
export class BlockWriter {
  readonly #options: BlockWriterOptions;
  readonly #generation: number;
  readonly #written: (keys: readonly Buffer[]) => void;
  readonly #nextOrdinal: () => number;
  readonly #builders = new Map<Topic, Builders>();
  /** Memory of the blocks that are not sealed. */
  #buffered = 0;
  readonly #blocks: Block[] = [];
  #pending: Promise<{ block: Block; changes: Change[] }>[] = [];
  #pendingBytes = 0;

  constructor(
    options: BlockWriterOptions,
    generation: number,
    written: (keys: readonly Buffer[]) => void,
    nextOrdinal: () => number,
  ) {
    this.#options = options;
    this.#generation = generation;
    this.#written = written;
    this.#nextOrdinal = nextOrdinal;
  }

  /**
   * Undefined where nothing has to be waited for.
   *
   * @param logBytes what the message takes in the log
   */
  add(topic: Topic, isUnclaimed: boolean, entry: PublishEntry, logBytes: number): Promise<void> | undefined {
    let builders = this.#builders.get(topic);
    if (builders === undefined) this.#builders.set(topic, (builders = {}));
    const which = isUnclaimed ? "unclaimed" : "claimed";
    const before = builders[which]?.memory ?? 0;
    const builder = (builders[which] ??= new BlockBuilder(isUnclaimed));
    builder.add(entry, logBytes);
    this.#buffered += builder.memory - before;
    if (builder.bytes >= this.#options.blockBytes) {
      this.#seal(topic, builder);
      builders[which] = undefined;
    }
    const isFull = this.#buffered >= this.#options.bufferBytes;
    return isFull || this.#pendingBytes >= batchBytes ? this.#empty(isFull) : undefined;
  }

  async #empty(isFull: boolean): Promise<void> {
    if (isFull) await this.#sealAll();
    if (this.#pendingBytes >= batchBytes) await this.#write();
  }

  async finish(): Promise<Block[]> {
    await this.#sealAll();
    await this.#write();
    return this.#blocks;
  }

  /** Many topics with a message each are many blocks: they are written in parts too. */
  async #sealAll(): Promise<void> {
    for (const [topic, { claimed, unclaimed }] of this.#builders) {
      for (const builder of [claimed, unclaimed]) {
        if (builder !== undefined) this.#seal(topic, builder);
      }
      this.#builders.delete(topic);
      if (this.#pendingBytes >= batchBytes || this.#pending.length >= batchBlocks) await this.#write();
    }
  }

  #seal(topic: Topic, builder: BlockBuilder): void {
    this.#buffered -= builder.memory;
    this.#pendingBytes += builder.bytes;
    const sealing = sealBlock(this.#options.sealer, builder, topic, this.#generation, this.#nextOrdinal());
    sealing.catch(() => undefined); // seen when it is written
    this.#pending.push(sealing);
  }

  async #write(): Promise<void> {
    const sealed = await Promise.all(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    if (sealed.length === 0) return;
    const changes = sealed.flatMap((one) => one.changes);
    this.#written(changes.map(({ key }) => key));
    await this.#options.database().batch(changes);
    for (const { block } of sealed) this.#blocks.push(block);
  }
}
