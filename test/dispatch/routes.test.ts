import { describe, expect, it } from "vitest";
import { balanced, manualBroker } from "../support/manual-broker.js";

/** More topics than there are routes remembered for topics that were seen once. */
const manyTopics = 3_000;

describe("a broker with many topics", () => {
  it("routes each by the subscriptions of now, whether it was seen before, once, or never", async () => {
    const { broker } = manualBroker();
    const got: string[] = [];
    const names = Array.from({ length: manyTopics }, (_, index) => `device.${index}`);
    const all = broker.subscribe("device.*", (msg) => void got.push(`all ${msg.topic}`), { maxMessages: 10_000 });
    for (let round = 0; round < 3; round += 1) for (const name of names) broker.publishSync(name, round);
    await broker.idle();
    expect(got).toHaveLength(3 * manyTopics);

    got.length = 0;
    const chosen = [names[0], names[1_500], names[2_999]] as [string, string, string];
    for (const name of chosen) {
      broker.publishSync(name, 1);
      broker.subscribe(name, (msg) => void got.push(`own ${msg.topic}`));
      broker.publishSync(name, 2);
    }
    await all.unsubscribe();
    for (const name of chosen) expect(broker.publishSync(name, 3).matched).toBe(1);
    await broker.idle();
    for (const name of chosen) {
      expect(got.filter((one) => one === `own ${name}`)).toHaveLength(2);
    }
    expect(broker.publishSync(names[2] as string, 4).matched).toBe(0);
    balanced(broker);
  });

  it("sees a subscription that comes between two publishes to a topic that it has not met before", () => {
    const { broker } = manualBroker();
    for (let index = 0; index < manyTopics; index += 1) broker.publishSync(`filler.${index}`, 1);
    expect(broker.publishSync("fresh.topic", 1).matched).toBe(0);
    broker.subscribe("fresh.topic", () => undefined);
    expect(broker.publishSync("fresh.topic", 2).matched).toBe(1);
    broker.subscribe("fresh.*", () => undefined);
    expect(broker.publishSync("fresh.topic", 3).matched).toBe(2);
  });

  it("knows the topics that come again, and those with a subscription of their own", () => {
    const { broker } = manualBroker();
    broker.subscribe("own", () => undefined);
    for (let index = 0; index < manyTopics; index += 1) broker.publishSync(`filler.${index}`, 1);
    for (let times = 0; times < 5; times += 1) broker.publishSync(`again.${times % 2}`, 1);
    const known = new Set(broker.topics().map(({ topic }) => topic));
    expect(["own", "again.0", "again.1"].filter((topic) => !known.has(topic))).toEqual([]);
  });
});
