/** Topics that are told from each other, more or less: a power of two. */
const sets = 8_192;

/**
 * Which topics were seen lately, by a number for each (`topicHash`): two of every set, the later ones. It keeps no topic, so
 * millions that come once leave nothing behind. It may take a topic for another, seldom, and forgets.
 */
export class SeenTopics {
  readonly #hashes = new Int32Array(2 * sets);

  /** True where the topic was seen lately; from now on it was. */
  see(hash: number): boolean {
    const hashes = this.#hashes;
    const later = (hash & (sets - 1)) * 2;
    const latest = hashes[later] as number;
    const print = hash | 0;
    if (latest === print) return true;
    const wasSeen = hashes[later + 1] === print;
    hashes[later + 1] = latest;
    hashes[later] = print;
    return wasSeen;
  }
}
