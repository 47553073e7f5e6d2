import { brokerError, quote } from "../errors.js";
import type { Message, PublishedMessage } from "../message/message.js";
import { fulfilled } from "../message/message.js";
import { checkPattern } from "../topic/grammar.js";
import { checkSignal, count, invalid, requireObject } from "./checks.js";
import type { BrokerCore } from "./core.js";
import type { StoreLink } from "./store-link.js";
import type { HistoryPoint, HistoryRange, StoredFacts } from "./store-port.js";
import { PageIterator } from "./page-iterator.js";
import { messageFrom, Stamps, unreadable } from "./stored-message.js";
import { storePoint } from "./subscribe-settings.js";

/** Which part of history to read. */
export interface ReplayOptions {
  /** The first message, included, by number or by time; `"oldest"`, or absent: the oldest there is. */
  readonly from?: "oldest" | HistoryPoint | undefined;
  /** The last message, included; absent: the last one that was stored when the replay began. */
  readonly to?: HistoryPoint | undefined;
  /** Messages at most; absent: all. */
  readonly limit?: number | undefined;
  /** Ends it between two messages: it throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** How to publish history again. */
export interface ReplayMessagesOptions extends ReplayOptions {
  /** Messages a second; absent: as fast as subscribers take them. */
  readonly rate?: number | undefined;
  /** Told after each message: how many so far, and the number of the last. */
  readonly onProgress?: ((progress: { readonly replayed: number; readonly seq: number }) => void) | undefined;
}

function rangeOf({ from, to, limit }: ReplayOptions): HistoryRange {
  return {
    from: from === undefined || from === "oldest" ? undefined : storePoint("from", from),
    to: to === undefined ? undefined : storePoint("to", to),
    limit,
  };
}

const optionNames = ["from", "to", "limit", "signal"];

/** Reads history for a broker, and delivers it again. */
export class HistoryReader {
  readonly #core: BrokerCore;
  readonly #link: StoreLink;
  readonly #stamps: Stamps;

  constructor(core: BrokerCore, link: StoreLink) {
    this.#core = core;
    this.#stamps = new Stamps(core.origin);
    this.#link = link;
  }

  /** Throws for what is no pattern or no option. */
  check(pattern: string | readonly string[], options: ReplayOptions, more: readonly string[] = []): string[] {
    requireObject("options", options);
    const patterns = Array.isArray(pattern) ? [...(pattern as readonly string[])] : [pattern as string];
    if (patterns.length === 0) throw invalid("pattern", "a pattern, or several", pattern);
    for (const one of patterns) checkPattern(one, this.#core.settings.limits);
    for (const name in options) {
      if (optionNames.includes(name) || more.includes(name)) continue;
      throw brokerError(
        "ERR_INVALID_OPTION",
        `there is no option ${quote(name)}; known are ${[...optionNames, ...more].join(", ")}`,
        { option: name },
      );
    }
    rangeOf(options);
    count("limit", options.limit, 1);
    checkSignal(options.signal);
    return patterns;
  }

  /** @param opening - resolves once the store is open */
  read(
    patterns: readonly string[],
    options: ReplayOptions,
    opening: Promise<void>,
  ): AsyncGenerator<PublishedMessage, void, undefined> {
    const { signal } = options;
    return new PageIterator(this.#pages(patterns, options, opening), (facts) => {
      signal?.throwIfAborted();
      return this.#messageOf(facts);
    });
  }

  async *#pages(
    patterns: readonly string[],
    options: ReplayOptions,
    opening: Promise<void>,
  ): AsyncGenerator<readonly StoredFacts[], void, undefined> {
    await opening;
    options.signal?.throwIfAborted();
    yield* this.#link.store.replayPages(patterns, rangeOf(options));
  }

  /** Delivers history to the subscriptions of today, each message once a full queue has room for it. */
  async replay(patterns: readonly string[], options: ReplayMessagesOptions): Promise<number> {
    const { publisher, timers, abort } = this.#core;
    const { rate, onProgress, signal, ...range } = options;
    if (rate !== undefined && !(typeof rate === "number" && rate > 0)) {
      throw invalid("rate", "more than 0 messages a second", rate);
    }
    const startedAt = timers.deadlines.now();
    let replayed = 0;
    for await (const message of this.read(patterns, range, fulfilled)) {
      if (rate !== undefined) await this.#waitUntil(startedAt + (replayed * 1000) / rate, signal);
      signal?.throwIfAborted();
      abort.signal.throwIfAborted();
      await publisher.offerAgain(message, signal);
      replayed += 1;
      onProgress?.({ replayed, seq: message.seq });
    }
    return replayed;
  }

  async collect(patterns: readonly string[], options: ReplayOptions): Promise<Message[]> {
    const messages: Message[] = [];
    for await (const message of this.read(patterns, options, fulfilled)) messages.push(message);
    return messages;
  }

  /** Undefined for a payload that cannot be decoded: it is told, and the rest of history is read. */
  #messageOf(facts: StoredFacts): PublishedMessage | undefined {
    const { settings } = this.#core;
    try {
      return messageFrom(facts, this.#stamps, settings.payloads === "freeze", { replayed: true });
    } catch (error) {
      this.#core.fail(unreadable(facts, error), { during: "store" });
      return undefined;
    }
  }

  async #waitUntil(deadline: number, signal: AbortSignal | undefined): Promise<void> {
    const { timers, loop, abort } = this.#core;
    if (deadline <= timers.deadlines.now()) return;
    const release = loop.hold();
    let cleanUp = (): void => undefined;
    try {
      await new Promise<void>((resolve) => {
        const entry = timers.deadlines.at(deadline, { onTimer: () => resolve() });
        const onAbort = (): void => resolve();
        signal?.addEventListener("abort", onAbort, { once: true });
        abort.signal.addEventListener("abort", onAbort, { once: true });
        cleanUp = () => {
          timers.deadlines.cancel(entry);
          signal?.removeEventListener("abort", onAbort);
          abort.signal.removeEventListener("abort", onAbort);
        };
      });
    } finally {
      cleanUp();
      release();
    }
  }
}
