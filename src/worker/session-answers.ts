import type { Receipt } from "../index.js";
import type { FrameWriter } from "./frame-writer.js";
import { tell } from "./protocol.js";
import { toWireError } from "./wire-error.js";

/** What a session answers its client's calls with. */
export class SessionAnswers {
  readonly #writer: FrameWriter;
  /** Calls whose caller has a signal. */
  readonly #calls = new Map<number, AbortController>();
  #isEnded = false;

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  /** A signal cannot travel: the client says that it has one, and `abort` when it is aborted. */
  withSignal(call: number, options: { readonly signal?: unknown }): object {
    if (options.signal === undefined) return options;
    const controller = new AbortController();
    this.#calls.set(call, controller);
    return { ...options, signal: controller.signal };
  }

  /** The same for the entries of a batch, which share one. */
  withSignals<Entry extends object>(call: number, entries: readonly Entry[]): readonly Entry[] {
    const has = (entry: Entry | null): boolean => (entry as { readonly signal?: unknown } | null)?.signal !== undefined;
    if (!entries.some(has)) return entries;
    const { signal } = this.withSignal(call, { signal: true }) as { readonly signal: AbortSignal };
    return entries.map((entry) => (has(entry) ? { ...entry, signal } : entry));
  }

  /** The caller has given up. */
  abort(call: number): void {
    this.#calls.get(call)?.abort();
  }

  /** Nobody waits for the call any more. */
  forget(call: number): void {
    this.#calls.delete(call);
  }

  /** Answers with what the work resolves to, or fails with. */
  answer(call: number, work: () => Promise<unknown>): void {
    let working: Promise<unknown>;
    try {
      working = work();
    } catch (error) {
      this.failed(call, error);
      return;
    }
    working.then(
      (value) => this.returned(call, value),
      (error: unknown) => this.failed(call, error),
    );
  }

  published(call: number, receipt: Receipt): void {
    if (this.#isEnded) return;
    this.#calls.delete(call);
    if (receipt.duplicate || receipt.report !== undefined)
      this.#writer.write([tell.returned, call, plainReceipt(receipt)]);
    else this.#writer.write([tell.published, call, receipt.id, receipt.seq, receipt.matched]);
  }

  returned(call: number, value: unknown): void {
    if (this.#isEnded) return;
    this.#calls.delete(call);
    this.#writer.write([tell.returned, call, value]);
  }

  failed(call: number, error: unknown): void {
    if (this.#isEnded) return;
    this.#calls.delete(call);
    this.#writer.write([tell.threw, call, toWireError(error)]);
  }

  /** Nothing is answered any more, and what is under way is aborted. */
  end(reason: Error): void {
    this.#isEnded = true;
    for (const call of this.#calls.values()) call.abort(reason);
    this.#calls.clear();
  }
}

/** A receipt as plain data. */
export function plainReceipt({ id, seq, matched, duplicate, report }: Receipt): Receipt {
  return report === undefined ? { id, seq, matched, duplicate } : { id, seq, matched, duplicate, report };
}
