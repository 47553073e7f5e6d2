/**
 * `Date.now()` jumps, when somebody sets the clock or the machine wakes. Timeouts, backoff, delays, windows and rates must not
 * move with it; only what is due at a date does.
 */
import { expect, it } from "vitest";
import { balanced, fetchNow, manualBroker, rejectionCode, roundAck, takeOne } from "../support/manual-broker.js";

const year = 365 * 24 * 3_600_000;

it("a jump of a year, back or on, moves no timeout", async () => {
  for (const jump of [year, -year]) {
    const { broker, clock } = manualBroker({ ack: roundAck, transactions: { timeout: 500 }, dedup: { window: 500 } });
    const sub = broker.subscribe("t", { ttl: 2_000 });
    const limited = broker.subscribe("limited", { rateLimit: { perSecond: 1 }, ack: "none" });
    for (let index = 0; index < 2; index += 1) await broker.publish("limited", index);
    await broker.publish("t", "held", { dedupId: "d" });
    await broker.publish("t", "nacked");
    await broker.publish("t", "delayed", { delay: 500 });
    const [held, nacked] = await fetchNow(sub);
    await nacked?.nack({ delay: 500 });
    const tx = broker.beginTransaction();
    const asked = rejectionCode(broker.request("t", "question", { timeout: 500 }));
    const question = await takeOne(sub);
    await question.ack();
    expect(await fetchNow(limited)).toHaveLength(1);

    clock.jump(jump);
    await clock.advance(499);
    expect(balanced(broker)).toMatchObject({ delayed: 1, scheduled: 1, timedOut: 0, transactions: { open: 1 } });
    expect(await broker.publish("t", "again", { dedupId: "d" })).toMatchObject({ duplicate: true });
    expect(await fetchNow(limited)).toEqual([]);
    expect(broker.health().uptime).toBe(499);

    await clock.advance(2);
    expect(await rejectionCode(tx.commit())).toBe("ERR_TRANSACTION_TIMEOUT");
    expect(await asked).toBe("ERR_TIMEOUT");
    expect((await fetchNow(sub)).map(({ data }) => data).toSorted()).toEqual(["delayed", "nacked"]);
    await clock.advance(499);
    expect(await fetchNow(limited)).toHaveLength(1);
    await rejectionCode(held?.ack() ?? Promise.resolve());
    expect(sub.state).toBe("open");
    await clock.advance(1_000);
    expect(sub.state).toBe("closed");
    await broker.close({ drain: false });
  }
});
