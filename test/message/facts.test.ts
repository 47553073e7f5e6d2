import { expect, it } from "vitest";
import type { Message } from "inproc-broker";
import { InProcBroker, messageFacts, messageId } from "inproc-broker";

async function received(publish: (broker: InProcBroker) => Promise<unknown>): Promise<Message> {
  const broker = new InProcBroker({ ack: {} });
  const sub = broker.subscribe("a");
  await publish(broker);
  const [message] = await sub.fetch(1);
  await broker.close({ drain: false });
  return message as Message;
}

it("says nothing of a message that nothing sets apart, whose id follows from the rest", async () => {
  const message = await received((broker) => broker.publish("a", 1));
  expect(messageFacts(message)).toBeNull();
  expect(messageId(message.timestamp, message.seq, message.id.slice(18))).toBe(message.id);
});

it("names what differs, and nothing else", async () => {
  const message = await received((broker) =>
    broker.publish("a", 1, { id: "own", key: "k", headers: { h: "v" }, priority: "high", correlationId: "c" }),
  );
  expect(messageFacts(message)).toEqual({
    id: "own",
    key: "k",
    headers: { h: "v" },
    priority: 7,
    correlationId: "c",
  });
});

it("counts hand-overs", async () => {
  const broker = new InProcBroker({ ack: {} });
  const sub = broker.subscribe("a");
  await broker.publish("a", 1);
  const [first] = await sub.fetch(1);
  await first?.nack({ delay: 0 });
  const [second] = await sub.fetch(1);
  expect(messageFacts(second as Message)).toEqual({ deliveryCount: 2, redelivered: true });
  await broker.close({ drain: false });
});
