import type { Handler, Message, NackOptions, ReplyOptions } from "../index.js";
import type { ClientCalls } from "./client-calls.js";
import type { ClientDeadlines } from "./client-deadlines.js";
import type { ClientEvents } from "./client-events.js";
import type { ClientLink } from "./client-link.js";
import type { FrameWriter } from "./frame-writer.js";
import { ask, maxUnacknowledgedWindow } from "./protocol.js";
import type { SubscriptionKind, WireDecision } from "./protocol.js";
import { PullTaker } from "./pull-taker.js";
import { PushTaker } from "./push-taker.js";
import type { Accepted } from "./remote-subscription.js";
import { RemoteSubscription } from "./remote-subscription.js";
import type { WorkerSubscribeOptions } from "./subscribe-options.js";
import { toWireOptions } from "./subscribe-options.js";
import { brokerError, quietly, toWireError } from "./wire-error.js";
import type { RemoteMessage } from "./wire-message.js";

/** What the subscriptions of a client need of it. */
export interface ClientSubscriptionsHost {
  readonly id: string;
  readonly writer: FrameWriter;
  readonly calls: ClientCalls;
  readonly deadlines: ClientDeadlines;
  readonly link: ClientLink;
  readonly events: ClientEvents;
  readonly state: "open" | "draining" | "closed";
  nonce(): string;
  /** Publishes an answer to a message. */
  reply(message: Message, data: unknown, options: ReplyOptions | undefined): Promise<void>;
}

/** Ids of deliveries that were taken back which a client remembers. */
const lostIdsKept = 10_000;

/** The subscriptions of a client, by number, and the deliveries of theirs that are settled by id. */
export class ClientSubscriptions {
  readonly #host: ClientSubscriptionsHost;
  readonly #subscriptions = new Map<number, RemoteSubscription>();
  /** Ids of deliveries that were taken back, to tell "too late" from "twice". */
  readonly #lostIds = new Set<string>();
  #last = 0;

  constructor(host: ClientSubscriptionsHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  get(id: number): RemoteSubscription | undefined {
    return this.#subscriptions.get(id);
  }

  all(): RemoteSubscription[] {
    return [...this.#subscriptions.values()];
  }

  /** The next number; iterations of `requestMany` have one, too. */
  nextNumber(): number {
    this.#last += 1;
    return this.#last;
  }

  /** Ends them all, with an error where one ended the client. */
  end(error: Error | undefined): void {
    for (const subscription of this.all()) subscription.close(error);
    this.#subscriptions.clear();
  }

  /** Subscribes at the broker; its answer is the subscription's `ready`. */
  open(
    kind: SubscriptionKind,
    pattern: string | readonly string[],
    handler: Handler | undefined,
    options: WorkerSubscribeOptions<never>,
  ): RemoteSubscription<never> {
    const { calls, writer, deadlines, events, link } = this.#host;
    const id = this.nextNumber();
    const patterns = [...new Set(typeof pattern === "string" ? [pattern] : pattern)];
    const name = options.durable ?? options.group ?? options.name ?? `${this.#host.id}-${id}`;
    const { concurrency = 1, maxInFlight = 64, ack } = options;
    let taker: PushTaker | PullTaker;
    if (handler === undefined) {
      taker = new PullTaker({
        maxInFlight,
        inFlight: () => subscription.inFlight,
        fetchNow: (count) => calls.makeAtOnce((call) => [ask.fetchNow, call, id, count]),
        hold: () => link.keepAlive(),
        after: (ms, run) => deadlines.after(ms, run, true),
      });
    } else {
      const mostWindow = ack === "none" && kind === "push" ? maxUnacknowledgedWindow : maxInFlight;
      taker = new PushTaker(kind === "respond" ? (message) => this.#respond(id, handler, message) : handler, {
        concurrency,
        leastWindow: kind === "feed" ? maxInFlight : concurrency,
        mostWindow: kind === "respond" ? concurrency : mostWindow,
        isByKey: options.orderBy === "key",
        after: (ms, run) => deadlines.after(ms, run),
      });
    }
    const wire = toWireOptions(options);
    const sent =
      kind === "respond"
        ? { ...wire, options: { ...wire.options, concurrency } }
        : options.group === undefined && options.name === undefined && options.durable === undefined
          ? { ...wire, options: { ...wire.options, name } }
          : wire;
    const accepted = calls.make(
      (call) => [ask.subscribe, call, kind, id, patterns, sent, taker.firstCredits],
      undefined,
      (answer) => subscription.accept(answer as Accepted),
    );
    const subscription: RemoteSubscription = new RemoteSubscription(
      {
        id: this.#host.id,
        write: (frame) => writer.write(frame),
        call: (frame) => calls.makeAtOnce(frame),
        flush: () => writer.flush(),
        nonce: () => this.#host.nonce(),
        reply: (message, data, given) => this.#host.reply(message, data, given),
        failed: (error, of, message) => {
          if (kind !== "feed") events.tellError(error, { during: "handler", subscription: of, message });
        },
        hold: () => link.keepAlive(),
        lost: (deliveryId) => {
          this.#lostIds.add(deliveryId);
          if (this.#lostIds.size <= lostIdsKept) return;
          const [oldest] = this.#lostIds;
          this.#lostIds.delete(oldest as string);
        },
        forget: (one) => this.#subscriptions.delete(one),
      },
      {
        id,
        name,
        patterns,
        group: options.group,
        durable: options.durable,
        ack,
        ackTimeoutMs: options.ackTimeout,
        isRespond: kind === "respond",
        taker,
        accepted,
        signal: options.signal,
      },
    );
    this.#subscriptions.set(id, subscription);
    subscription.ready.catch((error: unknown) => {
      if (this.#host.state === "open") events.tellError(error, { during: "handler", subscription: name });
    });
    return subscription as unknown as RemoteSubscription<never>;
  }

  /** Settles the delivery with that id: of one of these, or of the broker. */
  settle(deliveryId: string, decision: WireDecision, argument: unknown): Promise<void> {
    if (this.#host.state === "closed")
      return quietly(
        brokerError("ERR_BROKER_CLOSED", "this client of the broker is closed (or closing); connect again"),
      );
    const own = typeof deliveryId === "string" && deliveryId.startsWith(`${this.#host.id}/`);
    const [, subscription, number] = own ? deliveryId.split("/") : [];
    if (!own) {
      const settled = this.#host.calls.make((call) => [ask.settleById, call, deliveryId, decision, argument]);
      settled.catch(() => undefined);
      return settled as Promise<void>;
    }
    const message = this.#subscriptions.get(Number(subscription))?.find(Number(number));
    if (message === undefined && this.#lostIds.has(deliveryId)) {
      return quietly(
        brokerError(
          "ERR_DELIVERY_EXPIRED",
          `delivery ${JSON.stringify(deliveryId)} was taken back (ack timeout or end of the subscription); raise ackTimeout, or extend it in time`,
          { deliveryId },
        ),
      );
    }
    if (message === undefined) {
      return quietly(
        brokerError(
          "ERR_ALREADY_SETTLED",
          `no delivery ${JSON.stringify(deliveryId)} is in flight: it was settled already, or this client never had it`,
          { deliveryId },
        ),
      );
    }
    if (decision === "ack") return message.ack();
    if (decision === "nack") return message.nack(argument as NackOptions | undefined);
    if (decision === "reject") return message.reject(argument as string | undefined);
    return message.extend(argument as number);
  }

  /** Runs a responder, and sends what it makes of a request. */
  async #respond(id: number, handler: Handler, message: Message): Promise<void> {
    const { number } = message as RemoteMessage;
    let frame: readonly unknown[];
    try {
      const answer = await handler(message);
      frame = [ask.answer, id, number, false, answer === undefined ? null : answer];
    } catch (error) {
      frame = [ask.answer, id, number, true, toWireError(error)];
    }
    if (this.#host.state !== "closed") this.#host.writer.write(frame);
  }
}
