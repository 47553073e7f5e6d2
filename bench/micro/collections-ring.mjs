// The ring that every queue of the broker stands on, against mnemonist's queues and the plain array.
// Needs the build: npm run build && node bench/micro/collections-ring.mjs
import { FixedDeque, LinkedList, Queue } from "mnemonist";
import { Ring } from "../../dist/collections/ring.js";
import { compare, environment } from "./collections-measure.mjs";

const items = Array.from({ length: 1024 }, (_, id) => ({ id }));

function steady(queue, waiting, operations) {
  for (let i = 0; i < waiting; i += 1) queue.put(items[i & 1023]);
  let sum = 0;
  for (let i = 0; i < operations; i += 1) {
    queue.put(items[i & 1023]);
    sum += queue.take().id;
  }
  return sum;
}

function burst(queue, size, bursts) {
  let sum = 0;
  for (let round = 0; round < bursts; round += 1) {
    for (let i = 0; i < size; i += 1) queue.put(items[i & 1023]);
    for (let i = 0; i < size; i += 1) sum += queue.take().id;
  }
  return sum;
}

/** A fresh copy of the workload and of the adapter for each contender, so that none pays for another's shapes. */
function contender(workload, put, take, create) {
  const run = new Function("items", `return ${workload.toString()}`)(items);
  const Adapter = new Function(`return class {
    constructor(queue) { this.queue = queue; }
    put(item) { this.queue.${put}(item); }
    take() { return this.queue.${take}(); }
  }`)();
  return (...rest) => run(new Adapter(create()), ...rest);
}

const contenders = (workload, ...rest) => {
  const all = {
    "Ring (ours)": contender(workload, "push", "shift", () => new Ring()),
    "mnemonist FixedDeque": contender(workload, "push", "shift", () => new FixedDeque(Array, 131_072)),
    "mnemonist Queue": contender(workload, "enqueue", "dequeue", () => new Queue()),
    "mnemonist LinkedList": contender(workload, "push", "shift", () => new LinkedList()),
    "plain array": contender(workload, "push", "shift", () => []),
  };
  return Object.fromEntries(Object.entries(all).map(([name, run]) => [name, () => run(...rest)]));
};

console.log(JSON.stringify(environment()));
compare("steady, 10 waiting: push + shift", 300_000, contenders(steady, 10, 300_000));
compare("bursts of 1,000: push all, shift all", 300_000, contenders(burst, 1000, 300));
const large = contenders(burst, 100_000, 2);
delete large["plain array"]; // takes seconds: each shift moves all that is left
compare("bursts of 100,000: push all, shift all", 200_000, large);
