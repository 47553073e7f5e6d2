// The queue behind a subscription's backlog, against mnemonist's heaps and the plain ring.
// Needs the build: npm run build && node bench/micro/collections-priority-queue.mjs
import { Heap } from "mnemonist";
import { PriorityQueue } from "../../dist/collections/priority-queue.js";
import { Ring } from "../../dist/collections/ring.js";
import { compare, environment, sequence } from "./collections-measure.mjs";

const count = 100_000;
const random = sequence(20_240_229);
const items = Array.from({ length: count }, (_, seq) => ({ seq, time: seq / 10, priority: random(10) }));
const same = items.map(({ seq, time }) => ({ seq, time, priority: 4 }));
const byPriority = (a, b) => b.priority - a.priority || a.seq - b.seq;

/** Order-sensitive, so that two contenders agree only if they gave the same items in the same order. */
const mix = (check, item) => (Math.imul(check, 31) + item.seq) | 0;

// One function for each contender, written out, so that none pays for another's shapes.
const ours = (list, options) => () => {
  const queue = new PriorityQueue(options);
  for (const item of list) queue.push(item, item.priority);
  let check = 0;
  for (let left = count; left > 0; left -= 1) check = mix(check, queue.shift());
  return check;
};
const oursSame = (list) => () => {
  const queue = new PriorityQueue();
  for (const item of list) queue.push(item, item.priority);
  let check = 0;
  for (let left = count; left > 0; left -= 1) check = mix(check, queue.shift());
  return check;
};
const heap = (list, comparator) => () => {
  const queue = new Heap(comparator);
  for (const item of list) queue.push(item);
  let check = 0;
  for (let left = count; left > 0; left -= 1) check = mix(check, queue.pop());
  return check;
};
const ring = (list) => () => {
  const queue = new Ring();
  for (const item of list) queue.push(item);
  let check = 0;
  for (let left = count; left > 0; left -= 1) check = mix(check, queue.shift());
  return check;
};

const steadyQueue = (rounds) => () => {
  const queue = new PriorityQueue();
  let check = 0;
  for (let i = 0; i < rounds; i += 1) {
    const item = same[i % 1000];
    queue.push(item, item.priority);
    check = mix(check, queue.shift());
  }
  return check;
};
const steadyRing = (rounds) => () => {
  const queue = new Ring();
  let check = 0;
  for (let i = 0; i < rounds; i += 1) {
    queue.push(same[i % 1000]);
    check = mix(check, queue.shift());
  }
  return check;
};

console.log(JSON.stringify(environment()));
compare("100,000 random priorities: push all, take all", count, {
  "PriorityQueue (ours)": ours(items),
  "mnemonist Heap": heap(items, byPriority),
});
compare("100,000 random priorities with aging", count, {
  "PriorityQueue (ours)": ours(items, { agingMs: 100, timeOf: (item) => item.time }),
  "mnemonist Heap": heap(
    items,
    (a, b) => a.time - a.priority * 100 - (b.time - b.priority * 100) || b.priority - a.priority || a.seq - b.seq,
  ),
});
compare("100,000 of one priority: push all, take all", count, {
  "PriorityQueue (ours)": oursSame(same),
  "Ring (ours, the floor)": ring(same),
  "mnemonist Heap": heap(same, byPriority),
});
compare("one priority, queue runs empty each time", 300_000, {
  "PriorityQueue (ours)": steadyQueue(300_000),
  "Ring (ours, the floor)": steadyRing(300_000),
});
