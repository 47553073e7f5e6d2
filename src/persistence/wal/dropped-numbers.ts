/** Numbers of records, both ends included. */
export interface LsnRange {
  readonly from: number;
  to: number;
}

/** How many ranges a late `commit` is told about. One full disk makes a handful: consecutive numbers are one range. */
const rememberedRanges = 1024;

/** The numbers that were given out and, the disk being full, not written. Added in ascending order. */
export class DroppedNumbers {
  readonly #ranges: LsnRange[] = [];
  /** How many numbers there were, also those no longer remembered. */
  count = 0;

  /** Adds a range, which may cover ranges that were added before it. */
  add(range: LsnRange): void {
    let last = this.#ranges.at(-1);
    for (; last !== undefined && last.from >= range.from; last = this.#ranges.at(-1)) {
      this.count -= last.to - last.from + 1;
      this.#ranges.pop();
    }
    this.count += range.to - range.from + 1;
    if (last?.to === range.from - 1) last.to = range.to;
    else this.#ranges.push({ ...range });
    if (this.#ranges.length > rememberedRanges) this.#ranges.shift();
  }

  has(lsn: number): boolean {
    return this.#ranges.some(({ from, to }) => from <= lsn && lsn <= to);
  }
}
