import type { Message } from "../index.js";
import type { CaseContext } from "./case.js";
import { check, equal } from "./check.js";

/** How much of it. */
export interface StressOptions {
  /** What the workload is drawn from; default 1. A failure says it. */
  readonly seed?: number;
  /** Messages; default 2,000. */
  readonly messages?: number;
}

/**
 * A random workload of publishes, failures, redeliveries, slow and leaving consumers, checked against what must hold
 * whatever happens: nothing lost, nothing twice that did not fail, order within a subscription that never failed.
 */
export async function stress(c: CaseContext, options: StressOptions): Promise<void> {
  const { seed = 1, messages = 2_000 } = options;
  const random = sequence(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  const at = `seed ${seed}`;
  const t = await c.open({ ack: { maxDeliveries: 20, backoff: () => pick(20), timeout: 200 } });

  const steady = t.collect("s.>", { ack: "none", maxMessages: messages + 1 });
  const done = new Map<string, number>();
  const handed = new Map<string, number>();
  const work = async (message: Message): Promise<void> => {
    handed.set(message.id, (handed.get(message.id) ?? 0) + 1);
    for (let step = pick(4); step > 0; step -= 1) await Promise.resolve();
    if (pick(10) === 0) throw new Error("random failure");
    done.set(message.id, (done.get(message.id) ?? 0) + 1);
  };
  const member = { group: "workers", maxMessages: messages + 1, concurrency: 3 };
  const members = [t.broker.subscribe("s.>", work, member), t.broker.subscribe("s.>", work, member)];

  const ids: string[] = [];
  for (let index = 0; index < messages; index += 1) {
    const publish = t.broker.publish(`s.${pick(10)}.${pick(3)}`, index);
    if (pick(3) > 0) ids.push((await publish).id);
    else void publish.then(({ id }) => ids.push(id));
    if (pick(20) === 0) await t.advance(pick(30));
    if (pick(200) === 0) {
      // A member leaves; what it holds goes to the others, and a new one comes.
      members.push(t.broker.subscribe("s.>", work, member));
      await members.shift()?.unsubscribe();
    }
  }
  for (let round = 0; round < 100 && done.size < messages; round += 1) await t.advance(50);
  await t.settle();

  equal(ids.length, messages, `${at}: publishes that resolved`);
  equal(
    steady.data,
    Array.from({ length: messages }, (_, index) => index),
    `${at}: the steady subscription's order`,
  );
  const lost = ids.filter((id) => !done.has(id));
  equal(lost.length, 0, `${at}: messages that no member of the group has done`);
  check(
    [...handed.values()].some((count) => count > 1),
    `${at}: nothing was redelivered`,
  );
}

function sequence(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
