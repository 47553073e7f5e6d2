import { HeldPublisher } from "../dispatch/held-publisher.js";
import type { DeliverySource } from "../message/delivery.js";
import { Delivery } from "../message/delivery.js";
import type { MessageOrigin } from "../message/message.js";
import { MessageTraits, PublishedMessage, Stamp } from "../message/message.js";
import { defaultPriority } from "../message/priority.js";
import { receiptOf } from "./receipt.js";

/** A date that is no small integer, as the real ones are: V8 keeps apart what holds the one or the other. */
const someDate = 1.5e12;

/**
 * One object of each kind that comes and goes with a message, to be kept for as long as the broker.
 *
 * V8 throws compiled code away when the last object of a shape that it was compiled for is collected. A broker whose queues
 * are empty at a full collection would lose the code of its hot path, and run at half its speed until that is compiled again
 * (`bench/micro/after-collection.mjs`).
 */
export function keptShapes(origin: MessageOrigin): readonly object[] {
  const traits = new MessageTraits(new Stamp(someDate, origin), defaultPriority, 0, null);
  const message = new PublishedMessage("", null, 0, 0, traits);
  const source: DeliverySource | null = null;
  return [
    message,
    receiptOf(message, 0, false),
    new Delivery(message, source as unknown as DeliverySource, null, 1, null),
    new HeldPublisher(0, null),
  ];
}
