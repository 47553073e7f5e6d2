import { Batch } from "./batch.js";
import { Pace } from "./pace.js";

/** What the group commit needs of the log: the two steps that a group goes through. Neither runs beside the other. */
export interface GroupSink {
  /**
   * Puts a group's records into the page cache. It may reject some of the group's waiters and go on; when it
   * rejects itself, nothing is written any more.
   */
  write(batch: Batch): Promise<void>;
  /** Everything through `lsn` was written, or refused. Called before those who wait are told. Must not throw. */
  written(lsn: number): void;
  /** Puts everything written so far on the disk. A rejection ends the log. */
  sync(): Promise<void>;
  /** Starts the next segment, at the number `firstLsn`; everything before it is synced. */
  rotate(firstLsn: number): Promise<void>;
  /** A group wants to be on the disk within the interval, and was only written. */
  syncLater(): void;
  /** A step failed. Returns what everybody who waits, and will wait, is told. */
  fail(cause: unknown): Error;
}

/** What somebody wants for a record. */
export type Demand = "write" | "write-then-sync-later" | "sync" | "sync-now";

export interface GroupCommitOptions {
  /** How large a batch's memory is at first, and how much of it is kept. */
  readonly bufferBytes: number;
  /** Runs something in the event loop's next turn. */
  readonly afterTurn: (run: () => void) => void;
  /** Milliseconds that only grow. */
  readonly now: () => number;
}

/**
 * Gathers records while the group before them is written and synced, so that one write and one sync serve
 * all who wait.
 *
 * | state     | entered                          | may happen                                   | left by                          |
 * |-----------|----------------------------------|----------------------------------------------|----------------------------------|
 * | idle      | at first; a group ended, no work | records are added                            | work comes → scheduled, running  |
 * | scheduled | work, and the turn is not over   | records are added, by all who run this turn  | end of turn, `now`, or the pace → running |
 * | running   | one group is written and synced  | records are added to the next group          | done → idle, scheduled, or the next group; failed → stopped |
 * | stopped   | a step failed                    | nothing: `promise` rejects                   | never                            |
 *
 * A group waits for the end of the turn since those who were woken by the one before all come back within it: without the
 * wait, the first of them would go alone and the rest would sit out a whole sync. Where that lasts longer than a sync, `Pace`
 * says so, and it does not wait.
 */
export class GroupCommit {
  readonly #sink: GroupSink;
  readonly #options: GroupCommitOptions;
  #state: "idle" | "scheduled" | "running" | "stopped" = "idle";
  /** Records that come now. */
  #current: Batch;
  /** The group that is written or synced. */
  #inFlight: Batch | undefined;
  #spare: Batch;
  #failure: Error | undefined;
  #writtenLsn: number;
  #syncedLsn: number;
  #room: { promise: Promise<void>; open: () => void } | undefined;
  #whenIdle: (() => void)[] = [];
  readonly #pace: Pace;

  /** @param lastLsn the last number in the log so far; all of it is on the disk */
  constructor(sink: GroupSink, lastLsn: number, options: GroupCommitOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#pace = new Pace(options.now);
    const initialBytes = Math.min(options.bufferBytes, 64 * 1024);
    this.#current = new Batch(initialBytes);
    this.#spare = new Batch(initialBytes);
    this.#current.reset(lastLsn + 1, options.bufferBytes);
    this.#writtenLsn = lastLsn;
    this.#syncedLsn = lastLsn;
  }

  /** The batch that takes records now. Call `kick` after adding to it. */
  get current(): Batch {
    return this.#current;
  }

  /** Everything through it is in the page cache. */
  get writtenLsn(): number {
    return this.#writtenLsn;
  }

  /** Everything through it is on the disk. */
  get syncedLsn(): number {
    return this.#syncedLsn;
  }

  /** Sees to it that what was added is written: after this turn of the event loop, or at once. */
  kick(when: "turn" | "now" = "turn"): void {
    const current = this.#current;
    if (current.firstLsn === current.lastLsn) this.#pace.first();
    if (when === "now") {
      current.isUrgent = true;
      if (this.#state === "idle" || this.#state === "scheduled") void this.#run(false);
    } else if (this.#state === "idle") {
      this.#schedule();
    } else if (this.#pace.isDue(current.length) && current.wantsSync && this.#state === "scheduled") {
      void this.#run(true);
    }
  }

  /** The promise, shared by the group, that a record that was added has what is demanded for it. */
  promise(lsn: number, demand: Demand): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    // A record that is written already, and unsynced, is covered by whichever sync comes next.
    const batch = lsn >= this.#current.firstLsn ? this.#current : (this.#inFlight ?? this.#current);
    const isSync = demand === "sync" || demand === "sync-now";
    const promise = batch.promise(lsn, isSync ? "synced" : "written");
    if (isSync) batch.wantsSync = true;
    if (demand === "write-then-sync-later") batch.wantsIntervalSync = true;
    this.kick(demand === "sync-now" ? "now" : "turn");
    return promise;
  }

  /** Resolves when everything added so far is on the disk; rejects when a full disk refused some of it. */
  async flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const batches = this.#inFlight === undefined ? [this.#current] : [this.#inFlight, this.#current];
    const promises = batches.map((batch) => {
      batch.wantsSync = true;
      return batch.wholePromise();
    });
    this.kick();
    const outcomes = await Promise.allSettled(promises);
    const refused = outcomes.find((outcome) => outcome.status === "rejected");
    if (refused !== undefined) throw refused.reason as Error;
  }

  /** Ends the segment after what was added so far; resolves when the next one exists. */
  rotate(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#current.wantsSync = true;
    this.#current.wantsRotation = true;
    const promise = this.#current.promise(-1, "synced");
    this.kick();
    return promise;
  }

  /** Asks for a sync of what was written, with nobody waiting for it. */
  syncSoon(): void {
    if (this.#syncedLsn >= this.#writtenLsn && this.#current.isEmpty && this.#inFlight === undefined) return;
    this.#current.wantsSync = true;
    this.kick();
  }

  /** Undefined while the next batch has room; otherwise a promise, shared by all, that it has room again. */
  ready(): Promise<void> | undefined {
    if (this.#current.length < this.#options.bufferBytes || this.#failure !== undefined) return undefined;
    if (this.#room === undefined) {
      let open = (): void => undefined;
      const promise = new Promise<void>((resolve) => {
        open = resolve;
      });
      this.#room = { promise, open };
    }
    return this.#room.promise;
  }

  /** Resolves when there is nothing left to do, or the log has failed. */
  idle(): Promise<void> {
    if (this.#state === "idle" || this.#state === "stopped") return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve);
    });
  }

  #transition(to: "idle" | "scheduled" | "running" | "stopped"): void {
    const from = this.#state;
    const isStep =
      (to === "scheduled" && (from === "idle" || from === "running")) ||
      (to === "running" && (from === "idle" || from === "scheduled")) ||
      ((to === "idle" || to === "stopped") && from === "running");
    if (!isStep) throw new Error(`group commit: no step from ${from} to ${to}`);
    this.#state = to;
    if (to === "idle" || to === "stopped") {
      const waiting = this.#whenIdle;
      this.#whenIdle = [];
      for (const resolve of waiting) resolve();
    }
  }

  /** Takes a group through its steps, and those that follow at once. Never rejects: a failure is told to those who wait. */
  async #run(isEarly: boolean): Promise<void> {
    this.#transition("running");
    let isNextDue = isEarly;
    do {
      const batch = this.#take(isNextDue);
      try {
        if (!batch.isEmpty) await this.#sink.write(batch);
        this.#writtenLsn = batch.lastLsn;
        this.#sink.written(batch.lastLsn);
        batch.resolve("written");
        // Whoever asked for a sync while the write ran is served too.
        if (batch.wantsSync) {
          await this.#sink.sync();
          this.#pace.synced(batch.length);
          this.#syncedLsn = batch.lastLsn;
          if (batch.wantsRotation) await this.#sink.rotate(batch.lastLsn + 1);
          batch.resolve("synced");
        } else if (batch.wantsIntervalSync) {
          this.#sink.syncLater();
        }
      } catch (cause) {
        this.#stop(cause);
        return;
      }
      this.#inFlight = undefined;
      this.#spare = batch;
      // Those who were told wake only after this: the next group is on its way by then.
      isNextDue = this.#current.wantsSync && this.#pace.isNextDue(this.#current.length);
    } while (isNextDue);
    if (this.#current.hasWork) {
      this.#schedule();
    } else {
      this.#transition("idle");
    }
  }

  /** Takes the batch that was gathered; records that come now go into another. */
  #take(isEarly: boolean): Batch {
    const batch = this.#current;
    this.#inFlight = batch;
    this.#spare.reset(batch.lastLsn + 1, this.#options.bufferBytes);
    this.#current = this.#spare;
    this.#pace.begin(isEarly);
    this.#openRoom();
    return batch;
  }

  #schedule(): void {
    this.#transition("scheduled");
    if (this.#current.isUrgent) {
      void this.#run(false);
      return;
    }
    this.#options.afterTurn(() => {
      if (this.#state === "scheduled") void this.#run(false);
    });
  }

  #stop(cause: unknown): void {
    const failure = this.#sink.fail(cause);
    this.#failure = failure;
    this.#inFlight?.reject(failure);
    this.#inFlight = undefined;
    this.#current.reject(failure);
    this.#current.reset(this.#current.firstLsn, 0);
    this.#openRoom();
    this.#transition("stopped");
  }

  #openRoom(): void {
    this.#room?.open();
    this.#room = undefined;
  }
}
