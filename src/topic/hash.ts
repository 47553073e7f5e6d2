const offsetBasis = 0x811c9dc5;
const prime = 0x01000193;

/**
 * A number from 0 to 2³² − 1 for a topic, the same in every process: the low bits choose the topic's shard.
 *
 * FNV-1a with 32 bits (Fowler, Noll and Vo, http://www.isthe.com/chongo/tech/comp/fnv/, also draft-eastlake-fnv),
 * over UTF-16 code units instead of bytes, which is the same for ASCII. Multiplying carries only upwards: bit n of
 * a plain FNV hash depends on the bits 0 to n of the characters alone, so `a` and `q` would always share a shard.
 * Hence the authors' xor-fold at the end, which lets the high half speak in the low bits; it is reversible and
 * costs no distinctness.
 */
export function topicHash(topic: string): number {
  let hash = offsetBasis;
  for (let index = 0; index < topic.length; index += 1) {
    hash = Math.imul(hash ^ topic.charCodeAt(index), prime);
  }
  return (hash ^ (hash >>> 16)) >>> 0;
}
