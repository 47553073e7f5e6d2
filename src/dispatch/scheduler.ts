import { Ring } from "../collections/ring.js";
import type { EventLoop } from "../platform/event-loop.js";

/** Something that works in slices. */
export interface Runnable {
  /** The shard whose turn its work counts for. */
  readonly shard: number;
  /** True from `schedule` until a slice ends with nothing more to do. Only the scheduler and `schedule` write it. */
  isScheduled: boolean;
  /** Works through up to `limit` units; returns how many it did, and leaves the rest. */
  runSlice(limit: number): number;
  /** True where another slice would find work. */
  hasWork(): boolean;
}

/** Told of the turns of the event loop in which there is work. */
export interface TurnWatcher {
  /** Work goes on, and some time has passed: what was read off a clock is old. */
  onLook(): void;
  /** The turn is over. Called before the work of the next one. */
  onTurnEnd(): void;
}

/** Running a step from here costs a third of what queueMicrotask does, which makes an async resource of each call. */
const ready = Promise.resolve();

/** Most units of work between two looks at the time, and before another queue has its turn: a look costs as much as a unit. */
const mostUnitsPerLook = 64;
/** Milliseconds between two looks from which on there are looks more often: handlers are slow, or something else was. */
const slowLookMs = 1;
/** Milliseconds of one turn of the event loop that deliveries and publishes may take before I/O has its chance. */
const turnBudgetMs = 5;
/**
 * What one look can take of the budget. A pause of the collector, or a core that was lent to others, is no work: it does
 * not end the turn alone, or what waits then would find its queue full although the consumers are quick.
 */
const mostMsPerLook = 3;

/**
 * Runs the queues that have something to deliver: soon, in slices, and never for so long that I/O waits.
 *
 * Work starts in a microtask, so a message is delivered before the code that awaits its publish goes on. Shards take
 * turns, and the queues of a shard take turns: no topic can starve another. Once the turn's budget is spent, work
 * goes on after the event loop has come round; deliveries first, then the publishers that were told to wait.
 */
export class Scheduler {
  readonly #loop: EventLoop;
  readonly #shards: Ring<Runnable>[];
  /** Shards with work, each at most once. */
  readonly #readyShards = new Ring<Ring<Runnable>>();
  /** Scheduled while nothing else was: it comes first, and need not stand in line. */
  #first: Runnable | null = null;
  #isArmed = false;
  /** True where `#run` waits for the end of the turn. */
  #isDeferred = false;
  #isTurnWatched = false;
  #lookedAt = 0;
  #usedMs = 0;
  #unitsPerLook = mostUnitsPerLook;
  #unitsUntilLook = mostUnitsPerLook;
  #isTurnSpent = false;
  #nextTurn: Promise<void> | null = null;
  #resolveNextTurn: (() => void) | null = null;
  readonly #watcher: TurnWatcher;

  constructor(loop: EventLoop, shardCount: number, watcher: TurnWatcher) {
    this.#loop = loop;
    this.#shards = Array.from({ length: shardCount }, () => new Ring<Runnable>());
    this.#watcher = watcher;
  }

  /** True while some queue waits for its slice. */
  get isBusy(): boolean {
    return this.#isArmed;
  }

  /** Has `runnable` run soon. Does nothing where that is certain already. */
  schedule(runnable: Runnable): void {
    if (runnable.isScheduled) return;
    runnable.isScheduled = true;
    if (this.#isArmed) {
      this.#enqueue(runnable);
      return;
    }
    this.#first = runnable;
    this.#isArmed = true;
    // A turn that is spent is watched, so its end is certain to come.
    if (this.#isTurnSpent) this.#isDeferred = true;
    else void ready.then(this.#run);
  }

  /** Takes a runnable that is not scheduled, for work outside a slice; false: its slice will do that work. */
  begin(runnable: Runnable): boolean {
    if (runnable.isScheduled) return false;
    runnable.isScheduled = true;
    return true;
  }

  /** Lets a runnable that `begin` took do one unit of work, and schedules what is left. */
  proceed(runnable: Runnable): void {
    if (!this.spend(1)) runnable.runSlice(1);
    runnable.isScheduled = false;
    if (runnable.hasWork()) this.schedule(runnable);
  }

  /** Begins to watch the turn, so that its end is told. */
  watchTurn(): void {
    if (this.#isTurnWatched) return;
    this.#isTurnWatched = true;
    this.#lookedAt = this.#loop.elapsed();
    this.#usedMs = 0;
    this.#loop.afterTurn(this.#endTurn);
  }

  /** Counts work that is done outside slices; true where the turn's budget is spent and the caller should wait. */
  spend(units: number): boolean {
    this.#unitsUntilLook -= units;
    if (this.#unitsUntilLook <= 0) this.#look();
    return this.#isTurnSpent;
  }

  /** Resolves once the event loop has come round. */
  nextTurn(): Promise<void> {
    this.watchTurn();
    this.#nextTurn ??= new Promise((resolve) => {
      this.#resolveNextTurn = resolve;
    });
    return this.#nextTurn;
  }

  readonly #endTurn = (): void => {
    this.#isTurnWatched = false;
    this.#isTurnSpent = false;
    this.#unitsUntilLook = this.#unitsPerLook;
    this.#watcher.onTurnEnd();
    // Publishers that went on before the deliveries would find the queues as full as they left them.
    if (this.#isDeferred) this.#run();
    const resolve = this.#resolveNextTurn;
    this.#nextTurn = null;
    this.#resolveNextTurn = null;
    resolve?.();
  };

  readonly #run = (): void => {
    this.#isDeferred = false;
    this.watchTurn();
    for (;;) {
      const runnable = this.#first ?? this.#nextInLine();
      if (runnable === undefined) break;
      this.#first = null;
      // One more than it did, so that a queue of which every message is skipped costs something too.
      const isSpent = this.spend(runnable.runSlice(this.#unitsPerLook) + 1);
      if (runnable.hasWork()) this.#enqueue(runnable);
      else runnable.isScheduled = false;
      if (isSpent && this.#readyShards.length > 0) {
        this.#isDeferred = true;
        return;
      }
    }
    this.#isArmed = false;
  };

  #nextInLine(): Runnable | undefined {
    const shard = this.#readyShards.shift();
    if (shard === undefined) return undefined;
    const runnable = shard.shift();
    if (shard.length > 0) this.#readyShards.push(shard);
    return runnable;
  }

  #enqueue(runnable: Runnable): void {
    const shard = this.#shards[runnable.shard] as Ring<Runnable>;
    shard.push(runnable);
    if (shard.length === 1) this.#readyShards.push(shard);
  }

  #look(): void {
    this.#watcher.onLook();
    if (this.#isTurnWatched) {
      const now = this.#loop.elapsed();
      const ms = now - this.#lookedAt;
      this.#lookedAt = now;
      this.#usedMs += Math.min(ms, mostMsPerLook);
      if (this.#usedMs > turnBudgetMs) this.#isTurnSpent = true;
      // A slow handler must not run 64 times before somebody looks.
      if (ms > slowLookMs) this.#unitsPerLook = Math.max(1, this.#unitsPerLook >> 2);
      else this.#unitsPerLook = Math.min(mostUnitsPerLook, this.#unitsPerLook * 2);
    } else this.watchTurn();
    this.#unitsUntilLook = this.#unitsPerLook;
  }
}
