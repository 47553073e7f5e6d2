/**
 * An earlier broker ordered by priority in front of a first-in-first-out buffer, and had each publish wait for its dispatch:
 * one producer never saw anything reordered. The order is made in the queue the consumer takes from.
 */
import { expect, it } from "vitest";
import { manualBroker } from "../support/manual-broker.js";
import { settle } from "../support/manual-clock.js";

it("a paused consumer gets what was published as 1, 4, 2 as 4, 2, 1; one producer awaiting each publish", async () => {
  for (const maxMessages of [1_024, 1]) {
    const { broker } = manualBroker();
    const got: number[] = [];
    const sub = broker.subscribe("t", ({ priority }) => void got.push(priority), { maxMessages });
    sub.pause();
    for (const priority of [1, 4, 2] as const) {
      const published = broker.publish("t", priority, { priority });
      // Beyond the bound the publisher is held back; the message takes part in the order all the same.
      if (maxMessages > 1) await published;
    }
    sub.resume();
    await settle();
    expect(got).toEqual([4, 2, 1]);
  }
});

it("an iterator that comes late gets the highest first, and first in first out inside one priority", async () => {
  const { broker } = manualBroker();
  const sub = broker.subscribe("t");
  for (const [index, priority] of (["low", "high", "low", "highest", "high"] as const).entries()) {
    await broker.publish("t", index, { priority });
  }
  expect((await sub.fetch(5, { timeout: 0 })).map(({ data }) => data as number)).toEqual([3, 1, 4, 0, 2]);
});

it("aging keeps what is low from starving under a steady stream of what is high", async () => {
  const { broker, clock } = manualBroker({ priority: { aging: 100 } });
  const sub = broker.subscribe("t");
  await broker.publish("t", "low", { priority: 0 });
  let round = 0;
  for (;;) {
    await broker.publish("t", "high", { priority: 9 });
    const [message] = await sub.fetch(1, { timeout: 0 });
    if (message?.data === "low") break;
    await clock.advance(10);
    round += 1;
    if (round > 1_000) break;
  }
  expect(round).toBeGreaterThanOrEqual(89);
  expect(round).toBeLessThanOrEqual(92);
});
