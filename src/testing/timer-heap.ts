/** A timer of a virtual clock. */
export interface HeapTimer {
  /** When it is due, on the clock's monotonic scale. */
  readonly dueAt: number;
  /** Order among timers that are due at the same time: as they were scheduled. */
  readonly order: number;
  readonly run: () => void;
  /** True for the broker's own timers, which the agenda explains better. */
  readonly isBrokers: boolean;
  isCancelled: boolean;
}

/** Below this many cancelled timers a clean-up is not worth its while. */
const compactionFloor = 64;

/** The timers of a virtual clock: a binary heap, in which a cancelled timer keeps its place until it comes up. */
export class TimerHeap {
  #heap: HeapTimer[] = [];
  #cancelled = 0;

  /** The timer that is due first; undefined where none waits. */
  peek(): HeapTimer | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first?.isCancelled !== true) return first;
      this.#removeFirst();
      this.#cancelled -= 1;
    }
  }

  shift(): HeapTimer | undefined {
    const first = this.peek();
    if (first !== undefined) this.#removeFirst();
    return first;
  }

  push(timer: HeapTimer): void {
    const heap = this.#heap;
    let index = heap.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (isBefore(heap[parent] as HeapTimer, timer)) break;
      heap[index] = heap[parent] as HeapTimer;
      index = parent;
    }
    heap[index] = timer;
  }

  cancel(timer: HeapTimer): void {
    if (timer.isCancelled) return;
    timer.isCancelled = true;
    this.#cancelled += 1;
    if (this.#cancelled > compactionFloor && this.#cancelled * 2 > this.#heap.length) this.#compact();
  }

  /** Those that wait, in the order they are due. */
  waiting(): HeapTimer[] {
    return this.#heap.filter((timer) => !timer.isCancelled).sort((a, b) => (isBefore(a, b) ? -1 : 1));
  }

  #compact(): void {
    this.#heap = this.waiting();
    this.#cancelled = 0;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop() as HeapTimer;
    const { length } = heap;
    if (length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= length) break;
      if (child + 1 < length && isBefore(heap[child + 1] as HeapTimer, heap[child] as HeapTimer)) child += 1;
      if (isBefore(last, heap[child] as HeapTimer)) break;
      heap[index] = heap[child] as HeapTimer;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(a: HeapTimer, b: HeapTimer): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.order < b.order);
}
