/** A group of fewer bytes is not begun early, and the clock is looked at as often. */
const largeBytes = 32 * 1024;

/** A group is begun early when gathering it has taken more than so many times what the disk needs for one. */
const worthwhile = 1.5;

/** After so many groups that were begun early one is not: while the loop is busy, it hears late of what the disk has done. */
const earlyInARow = 16;

/**
 * Decides whether a group that waits for the disk is begun before the event loop's turn is over.
 *
 * Those who are woken by one group come back one by one, within the turn. Where that takes longer than the disk needs, the
 * disk had better work meanwhile: then two parts of them take turns, one gathered while the other is written and synced.
 * Where the disk is the slower one, parts would cost a wait each, and everybody goes together.
 *
 * How long the disk takes is learnt from groups that were not begun early.
 */
export class Pace {
  readonly #now: () => number;
  /** When the first record came of the group that is gathered. */
  #since = 0;
  /** How long it has taken to gather, as far as it was looked at. */
  #gatheredMs = 0;
  #lookAtBytes = largeBytes;
  /** How long the last group took to gather that was begun. */
  #lastGatheredMs = 0;
  #isEarly = false;
  #startedAt = 0;
  /** Milliseconds from a group's write to the end of its sync; of late. */
  #diskMs = Infinity;
  /** Groups that were begun early since one was not. */
  #earlyCount = 0;

  /** @param now milliseconds that only grow */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The first record of a group has come. */
  first(): void {
    this.#since = this.#now();
  }

  /** Whether the group is to be begun, now that it has so many bytes, although the turn goes on. */
  isDue(bytes: number): boolean {
    if (bytes < this.#lookAtBytes) return false;
    this.#lookAtBytes = bytes + largeBytes;
    this.#gatheredMs = this.#now() - this.#since;
    return this.#isWorthwhile(this.#gatheredMs);
  }

  /** Whether the next group is to be begun before those are woken who waited for the last: they take about as long as they took to come. */
  isNextDue(bytes: number): boolean {
    return bytes >= largeBytes && this.#isWorthwhile(this.#lastGatheredMs);
  }

  /** The group is begun. */
  begin(isEarly: boolean): void {
    this.#isEarly = isEarly;
    this.#earlyCount = isEarly ? this.#earlyCount + 1 : 0;
    this.#lastGatheredMs = this.#gatheredMs;
    this.#gatheredMs = 0;
    this.#lookAtBytes = largeBytes;
    this.#startedAt = this.#now();
  }

  /** The group, of so many bytes, is on the disk. */
  synced(bytes: number): void {
    if (this.#isEarly || bytes < largeBytes) return;
    const tookMs = this.#now() - this.#startedAt;
    this.#diskMs = this.#diskMs === Infinity ? tookMs : (this.#diskMs + tookMs) / 2;
  }

  #isWorthwhile(gatheredMs: number): boolean {
    return this.#earlyCount < earlyInARow && gatheredMs > this.#diskMs * worthwhile;
  }
}
