import { Ring } from "./ring.js";

/** How many runs of nondecreasing deadlines are kept beside the heap. */
const maxRuns = 4;

/** Below this many cancelled entries a clean-up is not worth its while. */
const compactionFloor = 64;

/** A heap node has 2 ** 2 children. */
const arityBits = 2;
const arity = 1 << arityBits;

/**
 * A deadline in a `TimerQueue`, and the handle by which it is cancelled.
 *
 * Only the queue that made it changes it.
 */
export class TimerEntry<T> {
  /** When the entry is due, on the scale of whoever scheduled it. */
  readonly deadline: number;
  /** @internal Order among equal deadlines. */
  readonly sequence: number;
  /** @internal The run that holds the entry; `undefined`: the heap. */
  readonly run: Run<T> | undefined;
  /** @internal The queue while the entry waits; `undefined` once it has fired or was cancelled. */
  queue: TimerQueue<T> | undefined;
  /** @internal Released at once when the entry fires or is cancelled. */
  value: T | undefined;

  constructor(deadline: number, sequence: number, run: Run<T> | undefined, queue: TimerQueue<T>, value: T) {
    this.deadline = deadline;
    this.sequence = sequence;
    this.run = run;
    this.queue = queue;
    this.value = value;
  }

  /** Whether the entry still waits: it has neither fired nor been cancelled. */
  get active(): boolean {
    return this.queue !== undefined;
  }
}

/** Entries in the order of their deadlines. The first and the last are always active ones. */
interface Run<T> {
  readonly entries: Ring<TimerEntry<T>>;
}

/**
 * A queue of deadlines: hands out values in the order in which they fall due, and in the order of scheduling
 * where deadlines are equal. It knows no clock: the caller says what time it is.
 *
 * Timeouts mostly have one of few lengths (the ack timeout, the default expiry), so deadlines mostly arrive in
 * order, a run for each length. Such an entry is appended to the run it fits, in constant time, and leaves it in
 * constant time; one that fits no run goes into a 4-ary heap. A cancelled entry gives up its value at once and
 * its place when it comes to an end of its run, to the bottom of the heap, or at the latest when cancelled
 * entries outnumber the active ones: memory follows the active entries.
 */
export class TimerQueue<T> {
  readonly #runs: Run<T>[] = [];
  #heap: TimerEntry<T>[] = [];
  /** The deadlines of the heap's entries: side by side, so that a comparison touches no entry. */
  #heapDeadlines: number[] = [];
  #active = 0;
  /** Entries in the runs and the heap, cancelled ones included. */
  #stored = 0;
  #nextSequence = 0;
  /**
   * The first entry, kept and never read: V8 throws away the code for a shape of which there is no object left at a full
   * collection. An entry that is over holds no value.
   */
  shape: TimerEntry<T> | null = null;

  /** How many entries wait. */
  get size(): number {
    return this.#active;
  }

  /** Adds a value that is due at `deadline`, any finite number; throws a `RangeError` for anything else. */
  schedule(deadline: number, value: T): TimerEntry<T> {
    if (!Number.isFinite(deadline)) {
      throw new RangeError(`A deadline must be a finite number, got ${String(deadline)}.`);
    }
    const run = this.#runFor(deadline);
    const entry = new TimerEntry(deadline, this.#nextSequence, run, this, value);
    this.shape ??= entry;
    this.#nextSequence += 1;
    this.#active += 1;
    this.#stored += 1;
    if (run === undefined) this.#siftUp(entry);
    else run.entries.push(entry);
    return entry;
  }

  /** Takes an entry out before it is due. False, and without effect, when it has fired or been cancelled. */
  cancel(entry: TimerEntry<T>): boolean {
    if (entry.queue !== this) {
      if (entry.queue === undefined) return false;
      throw new TypeError("The entry belongs to another TimerQueue.");
    }
    entry.queue = undefined;
    entry.value = undefined;
    this.#active -= 1;
    if (entry.run === undefined) this.#trimHeap();
    else this.#trimRun(entry.run);
    this.#compact();
    return true;
  }

  /** The earliest deadline; `Infinity` when nothing waits. */
  nextDeadline(): number {
    return this.#first()?.deadline ?? Infinity;
  }

  /**
   * Removes the earliest value whose deadline is at or before `now`, and returns it; `undefined` when none is due.
   * What is scheduled between two calls takes part in the second.
   */
  takeDue(now: number): T | undefined {
    const entry = this.#first();
    if (entry === undefined || entry.deadline > now) return undefined;
    const value = entry.value;
    entry.queue = undefined;
    entry.value = undefined;
    this.#active -= 1;
    if (entry.run === undefined) this.#removeTop();
    else this.#trimRun(entry.run);
    this.#compact();
    return value;
  }

  /** Cancels every entry. */
  clear(): void {
    for (const entry of this.#entries()) {
      entry.queue = undefined;
      entry.value = undefined;
    }
    this.#runs.length = 0;
    this.#heap = [];
    this.#heapDeadlines = [];
    this.#active = 0;
    this.#stored = 0;
  }

  /**
   * The run that ends closest before `deadline`: the best fit leaves the shorter runs to the shorter timeouts.
   */
  #runFor(deadline: number): Run<T> | undefined {
    const runs = this.#runs;
    let best: Run<T> | undefined;
    let bestEnd = -Infinity;
    let empty: Run<T> | undefined;
    for (let index = 0; index < runs.length; index += 1) {
      const run = runs[index] as Run<T>;
      const last = run.entries.peekLast();
      if (last === undefined) empty = run;
      else if (last.deadline <= deadline && last.deadline >= bestEnd) {
        best = run;
        bestEnd = last.deadline;
      }
    }
    if (best !== undefined) return best;
    if (empty !== undefined || runs.length === maxRuns) return empty;
    const run: Run<T> = { entries: new Ring() };
    runs.push(run);
    return run;
  }

  /** The active entry that is due first. Only the heap has to be searched for one: runs begin with theirs. */
  #first(): TimerEntry<T> | undefined {
    const heap = this.#heap;
    let first = heap[0];
    while (first !== undefined && first.queue === undefined) {
      this.#removeTop();
      first = heap[0];
    }
    const runs = this.#runs;
    for (let index = 0; index < runs.length; index += 1) {
      const head = (runs[index] as Run<T>).entries.peek();
      if (head !== undefined && (first === undefined || isBefore(head, first))) first = head;
    }
    return first;
  }

  #trimRun({ entries }: Run<T>): void {
    for (let head = entries.peek(); head !== undefined && head.queue === undefined; head = entries.peek()) {
      entries.shift();
      this.#stored -= 1;
    }
    for (let last = entries.peekLast(); last !== undefined && last.queue === undefined; last = entries.peekLast()) {
      entries.pop();
      this.#stored -= 1;
    }
  }

  #trimHeap(): void {
    const heap = this.#heap;
    while (heap.length > 0 && heap[heap.length - 1]?.queue === undefined) {
      heap.pop();
      this.#heapDeadlines.pop();
      this.#stored -= 1;
    }
  }

  /** Removes the cancelled entries once they outnumber the active ones: constant time for each, in the long run. */
  #compact(): void {
    const cancelled = this.#stored - this.#active;
    if (cancelled <= compactionFloor || cancelled <= this.#active) return;
    for (const run of this.#runs) run.entries.retain(isActive);
    this.#heap = this.#heap.filter(isActive);
    const heap = this.#heap;
    this.#heapDeadlines = heap.map(({ deadline }) => deadline);
    for (let index = (heap.length - 2) >> arityBits; index >= 0; index -= 1) {
      this.#siftDown(index, heap[index] as TimerEntry<T>);
    }
    this.#stored = this.#active;
  }

  #siftUp(entry: TimerEntry<T>): void {
    const heap = this.#heap;
    const deadlines = this.#heapDeadlines;
    const deadline = entry.deadline;
    let index = heap.length;
    heap.push(entry);
    deadlines.push(deadline);
    while (index > 0) {
      const parentIndex = (index - 1) >> arityBits;
      // A parent with an equal deadline was scheduled before: the newest entry does not pass it.
      if ((deadlines[parentIndex] as number) <= deadline) break;
      heap[index] = heap[parentIndex] as TimerEntry<T>;
      deadlines[index] = deadlines[parentIndex] as number;
      index = parentIndex;
    }
    heap[index] = entry;
    deadlines[index] = deadline;
  }

  #removeTop(): void {
    const last = this.#heap.pop();
    this.#heapDeadlines.pop();
    this.#stored -= 1;
    if (last !== undefined && this.#heap.length > 0) this.#siftDown(0, last);
    this.#trimHeap();
  }

  /** Puts `entry` at `index` or below it, whatever stands at `index` now. */
  #siftDown(index: number, entry: TimerEntry<T>): void {
    const heap = this.#heap;
    const deadlines = this.#heapDeadlines;
    const deadline = entry.deadline;
    const length = heap.length;
    for (;;) {
      const firstChild = (index << arityBits) + 1;
      if (firstChild >= length) break;
      const endChild = Math.min(firstChild + arity, length);
      let child = firstChild;
      let childDeadline = deadlines[firstChild] as number;
      for (let other = firstChild + 1; other < endChild; other += 1) {
        const otherDeadline = deadlines[other] as number;
        if (otherDeadline < childDeadline || (otherDeadline === childDeadline && this.#isOlder(other, child))) {
          child = other;
          childDeadline = otherDeadline;
        }
      }
      if (
        childDeadline > deadline ||
        (childDeadline === deadline && (heap[child] as TimerEntry<T>).sequence > entry.sequence)
      ) {
        break;
      }
      heap[index] = heap[child] as TimerEntry<T>;
      deadlines[index] = childDeadline;
      index = child;
    }
    heap[index] = entry;
    deadlines[index] = deadline;
  }

  #isOlder(a: number, b: number): boolean {
    return (this.#heap[a] as TimerEntry<T>).sequence < (this.#heap[b] as TimerEntry<T>).sequence;
  }

  *#entries(): Iterable<TimerEntry<T>> {
    for (const run of this.#runs) yield* run.entries;
    yield* this.#heap;
  }
}

function isBefore<T>(a: TimerEntry<T>, b: TimerEntry<T>): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.sequence < b.sequence);
}

function isActive<T>(entry: TimerEntry<T>): boolean {
  return entry.queue !== undefined;
}
