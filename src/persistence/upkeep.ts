import { brokerError } from "../errors.js";
import type { WorkOptions } from "../platform/progress.js";
import type { Checkpointer, CheckpointResult } from "./checkpoint.js";
import type { ExpirySweep } from "./expiry-sweep.js";
import type { EngineHands, EngineParts } from "./open-engine.js";
import type { StoreSettings } from "./options.js";
import type { StoreState } from "./state.js";
import { levelProblem } from "./store/level-store.js";
import { inOurCodes } from "./system-refusal.js";
import type { Wal } from "./wal/open.js";

/** Between a checkpoint that failed and the next try. */
const retryMs = 1000;

/**
 * What keeps an open store small: checkpoints when the log has grown or time has passed, a compaction of the database
 * when enough was removed from it, and the turns that these and a backup take.
 */
export class Upkeep {
  readonly #settings: StoreSettings;
  readonly #store: StoreState;
  readonly #checkpointer: Checkpointer;
  readonly #sweep: ExpirySweep;
  readonly #wal: Wal;
  readonly #hands: EngineHands;
  readonly #requireOpen: () => void;
  /** Checkpoints, backups and compactions take turns. */
  #work: Promise<unknown> = Promise.resolve();
  /** The next checkpoint that time brings. `isSoon`: after a failure, or on a full disk. */
  #timer: { readonly isSoon: boolean; readonly cancel: () => void } | undefined;
  #isCheckpointDue = false;
  #isOver = false;
  #bytesAfterCheckpoint: number;
  #freedBytes = 0;
  #checkpoints = 0;
  #failedCheckpoints = 0;
  #lastCheckpoint: CheckpointResult | undefined;

  /** @param requireOpen throws once the store closes: a turn that comes only then is not taken */
  constructor(parts: EngineParts, requireOpen: () => void) {
    this.#settings = parts.settings;
    this.#store = parts.state;
    this.#checkpointer = parts.checkpointer;
    this.#sweep = parts.sweep;
    this.#wal = parts.wal;
    this.#hands = parts.hands;
    this.#requireOpen = requireOpen;
    this.#bytesAfterCheckpoint = parts.wal.writer.bytes;
    this.#hands.onApplied = () => this.#onApplied();
    this.#onApplied();
  }

  /** Checkpoints that succeeded since the store was opened. */
  get checkpoints(): number {
    return this.#checkpoints;
  }

  get failedCheckpoints(): number {
    return this.#failedCheckpoints;
  }

  get lastCheckpoint(): CheckpointResult | undefined {
    return this.#lastCheckpoint;
  }

  checkpoint(): Promise<CheckpointResult> {
    return this.inTurn(async () => {
      await this.#sweepExpired(false);
      return this.#run();
    });
  }

  compact(options: WorkOptions = {}): Promise<void> {
    return this.inTurn(async () => {
      try {
        await this.#compact(options);
      } catch (error) {
        const { path } = this.#settings;
        throw inOurCodes(error, `The store in ${path} was not compacted, and goes on`, { path });
      }
    });
  }

  async #compact({ onProgress, signal }: WorkOptions): Promise<void> {
    signal?.throwIfAborted();
    await this.#sweepExpired(true);
    await this.#requireRoom();
    await this.#wal.writer.rotate();
    await this.#runThoroughly({ onProgress, signal });
    signal?.throwIfAborted();
    await this.#compactDatabase();
    this.#freedBytes = 0;
  }

  /** Runs it after what has asked before, and before what asks later. Rejects where the store closes meanwhile. */
  inTurn<Value>(run: () => Promise<Value>): Promise<Value> {
    const turn = this.#work.then(() => {
      this.#requireOpen();
      return run();
    });
    this.#work = turn.catch(() => undefined);
    return turn;
  }

  /** Begins nothing more by itself. Resolves once what is under way has ended. */
  async end(): Promise<void> {
    this.#isOver = true;
    this.#cancelTimer();
    await this.#work.catch(() => undefined);
  }

  /** After records were applied: is a checkpoint due? */
  #onApplied(): void {
    if (this.#isOver || this.#isCheckpointDue) return;
    const { walBytes, checkpointIntervalMs } = this.#settings;
    const { bytes } = this.#wal.writer;
    if (bytes >= walBytes && bytes - this.#bytesAfterCheckpoint >= walBytes / 4) {
      this.#checkpointSoon();
    } else if (this.#wal.writer.state === "full") {
      // What was settled holds its room until a checkpoint, and publishers wait for room.
      if (this.#timer?.isSoon === true || !this.#hands.hasNews(this.#checkpointer.about)) return;
      this.#checkpointLater(Math.min(retryMs, checkpointIntervalMs));
    } else if (this.#timer === undefined && this.#hands.hasNews(this.#checkpointer.about)) {
      this.#checkpointLater(checkpointIntervalMs);
    }
  }

  #checkpointLater(ms: number): void {
    this.#cancelTimer();
    const cancel = this.#settings.clock.schedule(ms, () => {
      this.#timer = undefined;
      this.#checkpointSoon();
    });
    this.#timer = { isSoon: ms <= retryMs, cancel };
  }

  #cancelTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #checkpointSoon(): void {
    if (this.#isCheckpointDue || this.#isOver || this.#wal.writer.state === "failed") return;
    this.#isCheckpointDue = true;
    this.#cancelTimer();
    this.inTurn(async () => {
      await this.#sweepExpired(false);
      await this.#requireRoom();
      // The segment that is being written would keep its room.
      if (this.#wal.writer.state === "full") await this.#wal.writer.rotate();
      await this.#run();
    }).then(
      () => {
        this.#isCheckpointDue = false;
        this.#onApplied();
      },
      () => {
        // It was told, or the full disk was; the log keeps everything until one succeeds.
        this.#isCheckpointDue = false;
        if (this.#isOver) return;
        if (this.#timer === undefined) this.#checkpointLater(retryMs);
      },
    );
  }

  /** Files that were removed can be written to all the same: nobody would notice before the next opening. */
  async #requireFolder(): Promise<void> {
    const { path, machine } = this.#settings;
    const last = `${path}/wal/${this.#wal.segments.at(-1)?.name ?? ""}`;
    if ((await machine.fileSystem.stat(last)) !== undefined) return;
    const text = `${last} is gone: somebody removed the store's folder while it was in use. What is written now is lost`;
    throw brokerError("ERR_STORE_FAILED", text, { path });
  }

  /** False when there is no room for it. */
  async #reopenDatabase(): Promise<boolean> {
    try {
      const isOpen = await this.#hands.reopenDatabase(this.#settings);
      if (isOpen) await this.#checkpointer.resolveDoubt();
      else this.#checkpointer.leaveDoubt(this.#noRoomToReopen());
      return isOpen;
    } catch (error) {
      this.#checkpointer.leaveDoubt(error);
      throw error;
    }
  }

  #noRoomToReopen(): Error {
    const { path } = this.#settings;
    return brokerError("ERR_STORE_FULL", `There is no room to open the database in ${path} again`, { path });
  }

  /**
   * On a full disk there is nothing left but the reserve, and that is for settles. What a checkpoint writes goes into the
   * database's journal and then into its files; half of what there is stays for the log.
   */
  async #requireRoom(): Promise<void> {
    if (this.#wal.writer.state !== "full") return;
    const { path, machine } = this.#settings;
    const needed = 4 * (await this.#checkpointer.bytesToMove());
    if (needed === 0 || needed <= (await machine.fileSystem.freeBytes(path))) return;
    const text = `There is no room in ${path} to move what the log holds into the database: settle more, or make room`;
    throw brokerError("ERR_STORE_FULL", text, { path });
  }

  /**
   * Has durables told of what has expired, so that it need not be kept for them: it may be what a disk is full of. What nobody
   * could be told of is kept, until the next time. Never rejects: a store that cannot be read has its checkpoint say so.
   */
  async #sweepExpired(isThorough: boolean): Promise<void> {
    if (!this.#sweep.begin(isThorough)) return;
    try {
      await this.#requireFolder();
      await this.#settings.onExpired?.();
    } catch {
      // The next one.
    }
    await this.#sweep.end().catch(() => undefined);
  }

  /** @param thorough all there is to remove or rewrite, and who is told of it */
  async #run(thorough?: WorkOptions): Promise<CheckpointResult> {
    const isThorough = thorough !== undefined;
    try {
      await this.#requireFolder();
      if (this.#hands.needsReopening && !(await this.#reopenDatabase())) throw this.#noRoomToReopen();
      const result = await this.#checkpointer.run();
      this.#checkpoints += 1;
      this.#lastCheckpoint = result;
      this.#bytesAfterCheckpoint = this.#wal.writer.bytes;
      const { freedBytes } = await this.#checkpointer.retain(thorough);
      this.#freedBytes += freedBytes;
      await this.#checkpointer.writePages(isThorough);
      // LevelDB gives the room of removed values back only when it comes to rewrite the files they are in.
      if (!isThorough && this.#freedBytes > Math.max(8 * 2 ** 20, this.#store.blockTotals().storedBytes)) {
        this.#freedBytes = 0;
        await this.#hands.database.compact();
      }
      return result;
    } catch (cause) {
      this.#failedCheckpoints += 1;
      const message = "A checkpoint failed; the log keeps everything, and it is tried again";
      this.#settings.onProblem({ kind: "checkpoint-failed", message, cause });
      await this.#reopenDatabase().catch(() => undefined);
      throw cause;
    }
  }

  /** As `#compactDatabase`: what fails may be what LevelDB has kept from when there was no room. Then it has been opened again. */
  async #runThoroughly(options: WorkOptions): Promise<void> {
    try {
      await this.#run(options);
    } catch (cause) {
      if (levelProblem(cause) !== "full" || this.#hands.needsReopening) throw cause;
      await this.#run(options);
    }
  }

  /** LevelDB keeps the failure of a compaction in the background until it is opened again, though there is room by now. */
  async #compactDatabase(): Promise<void> {
    try {
      await this.#hands.database.compact();
    } catch {
      await this.#reopenDatabase();
      await this.#hands.database.compact();
    }
  }
}
