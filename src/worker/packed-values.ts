/** Numbers below which a batch takes them as they are: what a typed array costs by itself is more. */
const fewNumbers = 24;

/**
 * The values of records on their way, beside the frames of their batch: all numbers of a batch in one typed array and all short
 * texts in one text, which structured clone copies as two blocks of bytes, where a value by itself is looked at, tagged and
 * allocated.
 *
 * A record is written behind `count` and `text`, and counts once these are set.
 */
export class PackedValues {
  readonly numbers: Float64Array;
  /** Numbers that are taken. */
  count = 0;
  /** The texts that are taken, one behind the other. */
  text = "";

  constructor(capacity: number) {
    this.numbers = new Float64Array(capacity);
  }

  /** What is to be sent of the numbers, if any. Then begins anew. */
  takeNumbers(): Float64Array | readonly number[] | null {
    const { count } = this;
    this.count = 0;
    if (count === 0) return null;
    return count < fewNumbers ? [...this.numbers.subarray(0, count)] : this.numbers.slice(0, count);
  }

  /** The texts. Then begins anew. */
  takeText(): string {
    const { text } = this;
    this.text = "";
    return text;
  }
}
