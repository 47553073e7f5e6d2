// The queue of deadlines, against mnemonist's heap, which has no cancellation, and against itself at other sizes.
// Needs the build: npm run build && node bench/micro/collections-timer-queue.mjs
import { Heap } from "mnemonist";
import { TimerQueue } from "../../dist/collections/timer-queue.js";
import { compare, environment, sequence } from "./collections-measure.mjs";

const count = 100_000;
const random = sequence(20_240_229);
// Fractions, as a monotonic clock gives.
const scattered = Array.from({ length: count }, () => random(1_000_000) + 0.125);
const rising = Array.from({ length: count }, (_, index) => index + 0.125);
const mix = (check, value) => (Math.imul(check, 31) + value) | 0;

const ours = (deadlines) => () => {
  const queue = new TimerQueue();
  for (let i = 0; i < count; i += 1) queue.schedule(deadlines[i], i);
  let check = 0;
  for (let left = count; left > 0; left -= 1) check = mix(check, queue.takeDue(1e9));
  return check;
};
const heap = (deadlines) => () => {
  const queue = new Heap((a, b) => a.deadline - b.deadline || a.value - b.value);
  for (let i = 0; i < count; i += 1) queue.push({ deadline: deadlines[i], value: i });
  let check = 0;
  for (let left = count; left > 0; left -= 1) check = mix(check, queue.pop().value);
  return check;
};

/** What acknowledgements do: every deadline is set, and almost all are cancelled in order, long before it. */
const acknowledged = (inFlight, rounds) => () => {
  const queue = new TimerQueue();
  const entries = new Array(inFlight);
  for (let now = 0; now < rounds; now += 1) {
    const slot = now % inFlight;
    if (now >= inFlight) queue.cancel(entries[slot]);
    entries[slot] = queue.schedule(now + 30_000, now);
  }
  return rounds;
};

const oneMore = (waiting, deadlineOf, rounds) => {
  const queue = new TimerQueue();
  for (let i = 0; i < waiting; i += 1) queue.schedule(deadlineOf(i, waiting), i);
  return () => {
    for (let i = 0; i < rounds; i += 1) queue.cancel(queue.schedule(deadlineOf(waiting + i, waiting), i));
    if (queue.size !== waiting) throw new Error(`${queue.size} entries wait`);
    return rounds;
  };
};

console.log(JSON.stringify(environment()));
compare("100,000 rising deadlines: schedule all, take all", count, {
  "TimerQueue (ours)": ours(rising),
  "mnemonist Heap": heap(rising),
});
compare("100,000 scattered deadlines: schedule all, take all", count, {
  "TimerQueue (ours)": ours(scattered),
  "mnemonist Heap": heap(scattered),
});
compare("acknowledged in order: schedule + cancel", 200_000, {
  "64 in flight": acknowledged(64, 200_000),
  "10,000 in flight": acknowledged(10_000, 200_000),
});
const rounds = 200_000;
for (const [name, deadlineOf] of [
  ["rising", (index) => index],
  ["scattered", (index, waiting) => ((index % waiting) * 7919) % 1_000_003],
  ["soonest", (index, waiting) => (index < waiting ? (index * 7919) % 1_000_003 : -index)],
]) {
  compare(`one more schedule + cancel, ${name} deadlines`, rounds, {
    "1,000 waiting": oneMore(1000, deadlineOf, rounds),
    "1,000,000 waiting": oneMore(1_000_000, deadlineOf, rounds),
  });
}
