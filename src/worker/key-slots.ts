/**
 * Which of `size` slots a key belongs to: the one with the highest score (rendezvous hashing). The same key has the same slot as
 * long as there are as many; with one slot more or fewer, only the keys of that slot move.
 */
export function slotOfKey(key: string, size: number): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193);
  }
  let best = 0;
  let bestScore = -1;
  for (let slot = 0; slot < size; slot += 1) {
    const score = mix(hash ^ Math.imul(slot + 1, 0x9e3779b1));
    if (score > bestScore) {
      best = slot;
      bestScore = score;
    }
  }
  return best;
}

/** The last step of MurmurHash3: every bit of the input moves every bit of the output. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
