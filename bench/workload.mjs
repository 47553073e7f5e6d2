/** What the scenarios share: payloads, tallies, and ways to publish and to wait. */

/** Messages that are published before the publisher lets the consumers run; queues hold 1,024 by default. */
export const BURST = 1000;

/** The payloads that are sent again and again, the same objects to every contender. */
export const payloads = Array.from({ length: BURST }, (_, id) => ({
  id,
  name: `order ${id}`,
  amount: id * 3,
}));

const POOL_SUM = (BURST * (BURST - 1)) / 2;

/** The sum of the ids when `operations` payloads are sent in turn. */
export function payloadSum(operations) {
  if (operations % BURST !== 0) throw new Error(`${operations} is not a multiple of ${BURST}`);
  return (operations / BURST) * POOL_SUM;
}

/** Counts what consumers saw; the sum of ids tells one lost and one doubled apart from none. */
export class Tally {
  count = 0;
  sum = 0;

  add(id) {
    this.count += 1;
    this.sum += id;
  }

  reset() {
    this.count = 0;
    this.sum = 0;
  }
}

/** One turn of the event loop. */
export const turn = () => new Promise(nextTurn);
const nextTurn = (resolve) => {
  setImmediate(resolve);
};

/** Longest time without a single message before a sample counts as lost. */
const STALL_MS = 15_000;

/** Waits until the tally has reached `count`, a turn of the event loop at a time. */
export async function seen(tally, count) {
  let progress = tally.count;
  let deadline = 0;
  for (let turns = 1; tally.count < count; turns++) {
    await turn();
    if (turns % 1024 !== 0) continue;
    if (tally.count !== progress || deadline === 0) {
      progress = tally.count;
      deadline = performance.now() + STALL_MS;
    } else if (performance.now() > deadline) {
      throw new Error(`stalled: ${tally.count} messages seen of ${count}`);
    }
  }
}

/** Publishes with `publishSync` in bursts, each of which is handled before the next. */
export async function publishSyncInBursts(broker, topic, operations, tally, fanOut = 1) {
  for (let sent = 0; sent < operations; sent += BURST) {
    for (let i = 0; i < BURST; i++) broker.publishSync(topic, payloads[i]);
    await seen(tally, (sent + BURST) * fanOut);
  }
}

/** Publishes with 1,000 promises in flight: the last of a thousand is awaited before the next thousand. */
export async function publishInFlight(broker, topic, operations) {
  for (let sent = 0; sent < operations; sent += BURST) {
    let last;
    for (let i = 0; i < BURST; i++) last = broker.publish(topic, payloads[i]);
    await last;
  }
}

/** Random numbers in [0, 1) that are the same in every run (mulberry32). */
export function seededRandom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The numbers from 0 to `length - 1` in random order. */
export function shuffled(length, random) {
  const order = Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Runs `send(i)` for each i at a fixed rate, late ones at once: `due[i]` is when the i-th should have gone. */
export async function openLoop(ratePerSecond, due, send) {
  const intervalMs = 1000 / ratePerSecond;
  const start = performance.now();
  let sent = 0;
  while (sent < due.length) {
    const elapsed = performance.now() - start;
    const target = Math.min(due.length, Math.floor(elapsed / intervalMs) + 1, sent + BURST);
    for (; sent < target; sent++) {
      due[sent] = start + sent * intervalMs;
      send(sent);
    }
    await turn();
  }
}
