import type { Message } from "../index.js";
import { Fifo } from "./fifo.js";
import type { Taker, TakerHost } from "./taker.js";
import type { RemoteMessage } from "./wire-message.js";

/** Milliseconds of one turn that handlers may take before this thread's events have their chance. */
const turnBudgetMs = 8;
/** Milliseconds a delivery may wait here before fewer are asked for: others could have had it. */
const tolerableWaitMs = 20;
/** Deliveries between two looks at the time where handlers are fast. */
const mostPerLook = 64;

interface Waiting {
  readonly message: RemoteMessage;
  readonly at: number;
}

/**
 * Pushes deliveries into a handler, up to `concurrency` at a time, and asks for as many ahead as keep it busy.
 *
 * The window (deliveries asked for, waiting here, or worked on) begins at what the handler can work on, and adapts: it doubles, up
 * to its bound, when a quick handler has run dry, and halves when a delivery had to wait for long. So fast handlers do not wait
 * for the way there and back, and slow ones do not hoard what another worker could do.
 */
export class PushTaker implements Taker {
  readonly #handler: (message: Message) => unknown;
  readonly #concurrency: number;
  readonly #leastWindow: number;
  readonly #mostWindow: number;
  readonly #isByKey: boolean;
  readonly #waiting = new Fifo<Waiting>();
  /** Deliveries that the handler has not come back from, and since when. */
  readonly #working = new Map<RemoteMessage, number>();
  readonly #busyKeys = new Set<string>();
  #host: TakerHost | null = null;
  #window: number;
  /** Asked for and not come. */
  #granted: number;
  #running = 0;
  /** When the last delivery came. */
  #cameAt = 0;
  #isPaused = false;
  #isEnded = false;
  #perLook = 1;
  #untilLook = 1;
  #lookedAt = 0;
  #turnStartedAt = 0;
  #isDeferred = false;
  readonly #after: (ms: number, run: () => void) => () => void;
  #stopKeepAlive: (() => void) | null = null;

  constructor(
    handler: (message: Message) => unknown,
    settings: {
      concurrency: number;
      leastWindow: number;
      mostWindow: number;
      isByKey: boolean;
      after: (ms: number, run: () => void) => () => void;
    },
  ) {
    this.#after = settings.after;
    this.#handler = handler;
    this.#concurrency = settings.concurrency;
    this.#leastWindow = settings.leastWindow;
    this.#mostWindow = Math.max(settings.leastWindow, settings.mostWindow);
    this.#window = settings.leastWindow;
    this.#granted = this.#window;
    this.#isByKey = settings.isByKey && settings.concurrency > 1;
  }

  get firstCredits(): number {
    return this.#window;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get isQuiet(): boolean {
    return this.#waiting.length === 0 && this.#running === 0;
  }

  begin(host: TakerHost): void {
    this.#host = host;
  }

  *held(): Iterable<Message> {
    yield* this.#working.keys();
    for (const { message } of this.#waiting) yield message;
  }

  receive(message: RemoteMessage, at: number): void {
    this.#granted -= 1;
    this.#cameAt = at;
    if (this.#isEnded) return;
    if (this.#mayStartAtOnce) {
      this.#untilLook -= 1;
      this.#start(message, at);
      return;
    }
    this.#waiting.push({ message, at });
    if (!this.#isDeferred) this.#run();
  }

  /** True where what comes now is next, and there is no need to look at the time before. */
  get #mayStartAtOnce(): boolean {
    return (
      this.#untilLook > 0 &&
      this.#waiting.length === 0 &&
      this.#running < this.#concurrency &&
      !this.#isPaused &&
      !this.#isDeferred &&
      !this.#isByKey
    );
  }

  batchEnded(): void {
    if (!this.#isDeferred) this.#ask(performance.now() - this.#cameAt < tolerableWaitMs);
  }

  lost(message: RemoteMessage): void {
    // A handler that hangs does not hold up the queue: its place is free again.
    if (this.#working.has(message)) this.#cameBack(message);
    else this.#waiting.take((one) => one.message === message);
    this.#run();
    this.#ask(false);
  }

  setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    if (isPaused) return;
    this.#run();
    this.#ask(false);
  }

  end(): void {
    this.#isEnded = true;
    this.#waiting.clear();
    this.#stopKeeping();
  }

  #run(): void {
    while (!this.#isEnded && !this.#isPaused && this.#running < this.#concurrency && this.#waiting.length > 0) {
      if (this.#untilLook === 0 && this.#look()) {
        this.#defer();
        break;
      }
      this.#untilLook -= 1;
      const next = this.#isByKey ? this.#waiting.take((one) => this.#isFree(one.message)) : this.#waiting.shift();
      if (next === undefined) break;
      this.#start(next.message, next.at);
    }
    if (this.#waiting.length > 0) this.#keepWaiting();
    else if (this.#running === 0) this.#host?.quiet();
  }

  #start(message: RemoteMessage, at: number): void {
    const host = this.#host as TakerHost;
    if (message.state === "lost") return;
    if (this.#perLook === 1) {
      // Handlers are slow: what is decided must not wait for the next to come back.
      const waitedMs = performance.now() - at;
      if (waitedMs > tolerableWaitMs) this.#window = Math.max(this.#leastWindow, this.#window >> 1);
      if (host.acknowledges && waitedMs > host.ackTimeoutMs / 10) host.keep([message]);
      this.#ask(false, 1);
      host.flush();
    }
    let result: unknown;
    try {
      result = this.#handler(message);
    } catch (error) {
      host.failed(message, error);
      return;
    }
    if (!isThenable(result)) {
      host.succeeded(message);
      return;
    }
    this.#running += 1;
    this.#working.set(message, performance.now());
    if (this.#isByKey && message.key !== undefined) this.#busyKeys.add(message.key);
    result.then(
      () => {
        host.succeeded(message);
        this.#finish(message);
      },
      (error: unknown) => {
        host.failed(message, error);
        this.#finish(message);
      },
    );
  }

  #finish(message: RemoteMessage): void {
    const since = this.#working.get(message) ?? -Infinity;
    this.#cameBack(message);
    if (this.#isDeferred) return;
    const isQuick = performance.now() - since < tolerableWaitMs;
    if (!isQuick) this.#window = Math.max(this.#leastWindow, this.#window >> 1);
    this.#run();
    this.#ask(isQuick);
  }

  #cameBack(message: RemoteMessage): void {
    if (!this.#working.delete(message)) return;
    this.#running -= 1;
    if (message.key !== undefined) this.#busyKeys.delete(message.key);
  }

  #isFree(message: RemoteMessage): boolean {
    return message.key === undefined || !this.#busyKeys.has(message.key);
  }

  /**
   * Asks for more, where that is worth a frame: half a window, or where a handler has nothing to do and nothing comes.
   *
   * @param mayGrow - a quick handler that has run dry could have done with more
   * @param starting - deliveries whose handler is about to be called
   */
  #ask(mayGrow: boolean, starting = 0): void {
    if (this.#isEnded || this.#isPaused || this.#host === null) return;
    const running = this.#running + starting;
    const coming = this.#granted + this.#waiting.length;
    const ahead = coming + running;
    if (ahead * 2 > this.#window && (coming > 0 || running >= this.#concurrency)) return;
    const isDry = this.#waiting.length === 0 && this.#running < this.#concurrency;
    if (mayGrow && isDry && ahead * 2 <= this.#window) this.#window = Math.min(this.#mostWindow, this.#window * 2);
    const credits = this.#window - ahead;
    if (credits <= 0) return;
    this.#granted += credits;
    this.#host.grant(credits);
  }

  /** Looks at the time; true where this turn's is over. */
  #look(): boolean {
    const now = performance.now();
    const tookMs = now - this.#lookedAt;
    this.#lookedAt = now;
    if (tookMs > turnBudgetMs / 2) this.#perLook = 1;
    else if (this.#perLook < mostPerLook && tookMs < 1) this.#perLook *= 2;
    this.#untilLook = this.#perLook;
    if (this.#turnStartedAt === 0) {
      this.#turnStartedAt = now;
      setImmediate(() => {
        this.#turnStartedAt = 0;
      });
    }
    return now - this.#turnStartedAt > turnBudgetMs;
  }

  #defer(): void {
    if (this.#isDeferred) return;
    this.#isDeferred = true;
    this.#ask(false);
    this.#host?.flush();
    setImmediate(() => {
      this.#isDeferred = false;
      this.#run();
      if (!this.#isDeferred) this.#ask(false);
    });
  }

  /** What waits here for long is still wanted: says so well before its time is over. */
  #keepWaiting(): void {
    const host = this.#host;
    if (this.#stopKeepAlive !== null || host === null || !host.acknowledges || host.ackTimeoutMs === Infinity) return;
    this.#stopKeepAlive = this.#after(host.ackTimeoutMs / 3, () => {
      this.#stopKeepAlive = null;
      if (this.#isEnded || this.#waiting.length === 0) return;
      host.keep([...this.#waiting].map(({ message }) => message));
      this.#keepWaiting();
    });
  }

  #stopKeeping(): void {
    this.#stopKeepAlive?.();
    this.#stopKeepAlive = null;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}
