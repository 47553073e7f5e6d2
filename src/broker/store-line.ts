import { Ring } from "../collections/ring.js";
import type { MemoryBudget } from "../dispatch/memory-budget.js";
import { fulfilled } from "../message/message.js";
import { tooManyHeld } from "./publish-errors.js";
import type { Publisher } from "./publisher.js";
import type { Settings } from "./settings.js";
import type { StoreWriter } from "./store-writer.js";

/** What the line needs of the broker around it. */
export interface StoreLineHost {
  readonly settings: Settings;
  readonly publisher: Publisher;
  readonly writer: StoreWriter;
  readonly memory: MemoryBudget;
  /** Nothing is on its way into the store any more. */
  quiet(): void;
}

/** Something on its way into the store. */
export interface Submission {
  /** Bytes that it holds while it waits to begin; 0 where they are counted already. */
  readonly bytes: number;
  /** Appends; the promise resolves once it is stored. Or throws, and has changed nothing. Null: it has entered again. */
  begin(): Promise<void> | null;
  /** It is stored, and everything before it is visible. */
  carryOut(): void;
  /** It was refused: by `begin`, by the store, or by the broker's end. */
  refuse(error: unknown): void;
}

/** Submissions in a row that wait for the same promise: those of one write of the store. */
interface Group {
  readonly stored: Promise<void>;
  readonly submissions: Submission[];
  /** The first that is neither visible nor refused. */
  next: number;
  state: "writing" | "written" | "failed";
  error: unknown;
}

function groupOf(stored: Promise<void>, first: Submission | null): Group {
  return { stored, submissions: first === null ? [] : [first], next: 0, state: "writing", error: undefined };
}

/**
 * The order of what goes into the store: submissions begin one after the other, as soon as the store takes them, and are
 * carried out in that order, each when it is stored.
 *
 * | state    | entered                                       | left by                                        |
 * |----------|-----------------------------------------------|------------------------------------------------|
 * | entrance | the store is being opened, or its buffer full | `begin`, in order; refused at `close`          |
 * | line     | `begin` has appended                          | carried out or refused once all before it are  |
 */
export class StoreLine {
  readonly #host: StoreLineHost;
  /** Not appended yet: the store is being opened, or its buffer is full. */
  readonly #entrance = new Ring<Submission>();
  /** Those of them that store nothing: no publisher waits for them. */
  #markers = 0;
  /** Appended, and not visible yet. */
  readonly #line = new Ring<Group>();
  /** The end of the line, which others may join. */
  #last: Group | null = null;
  #entered = 0;
  #left = 0;
  #isPumping = false;
  #refusal: { readonly error: unknown } | null = null;
  /** Kept, and never read: see `keptShapes`. */
  readonly shape = groupOf(fulfilled, null);

  constructor(host: StoreLineHost) {
    this.#host = host;
  }

  /** Submissions that are neither carried out nor refused. */
  get length(): number {
    return this.#entered - this.#left;
  }

  get isClosed(): boolean {
    return this.#refusal !== null;
  }

  /** Lets in what has waited for the store to be open. */
  opened(): void {
    void this.#pump();
  }

  /** Refuses everything, from now on. */
  close(error: unknown): void {
    this.#refusal = { error };
    for (const submission of this.#entrance) this.#host.memory.unreserve(submission.bytes);
    const inLine = [...this.#line].flatMap((group) => group.submissions.slice(group.next));
    const submissions = [...inLine, ...this.#entrance];
    this.#line.clear();
    this.#last = null;
    this.#entrance.clear();
    for (const submission of submissions) this.#end(() => submission.refuse(error));
  }

  /** Resolves once everything that has entered so far is carried out or refused. */
  whenThrough(): Promise<void> {
    if (this.length === 0) return Promise.resolve();
    // One that enters now, with nothing to store, and so is carried out behind them; not by count: what is refused leaves first.
    return new Promise((resolve) => {
      const isHeld = this.#entrance.length > 0;
      const begin = (): Promise<void> => {
        if (isHeld) this.#markers -= 1;
        return fulfilled;
      };
      const last: Submission = { bytes: 0, begin, carryOut: resolve, refuse: () => resolve() };
      this.#entered += 1;
      if (isHeld) {
        this.#markers += 1;
        this.#entrance.push(last);
      } else this.#begin(last);
    });
  }

  /** Begins a submission as soon as the store takes it, after all that came before. */
  enter(submission: Submission): void {
    if (this.#refusal !== null) {
      submission.refuse(this.#refusal.error);
      return;
    }
    const { writer, settings } = this.#host;
    this.#entered += 1;
    if (this.#entrance.length === 0 && writer.isOpen && writer.store.ready() === undefined) {
      this.#begin(submission);
      return;
    }
    const { maxWaitingPublishers } = settings.limits;
    const waiting = this.#entrance.length - this.#markers;
    if (waiting >= maxWaitingPublishers) {
      this.#end(() => submission.refuse(tooManyHeld("a stored topic", waiting)));
      return;
    }
    const { memory, publisher } = this.#host;
    try {
      publisher.requireMemory("a stored topic", submission.bytes);
    } catch (error) {
      this.#end(() => submission.refuse(error));
      return;
    }
    memory.reserve(submission.bytes);
    this.#entrance.push(submission);
    void this.#pump();
  }

  async #pump(): Promise<void> {
    const { writer } = this.#host;
    if (this.#isPumping || !writer.isOpen) return;
    this.#isPumping = true;
    for (;;) {
      const ready = writer.store.ready();
      if (ready !== undefined) {
        await ready.catch(() => undefined);
        continue;
      }
      const submission = this.#entrance.shift();
      if (submission === undefined) break;
      this.#host.memory.unreserve(submission.bytes);
      this.#begin(submission);
    }
    this.#isPumping = false;
  }

  #begin(submission: Submission): void {
    let stored: Promise<void> | null;
    try {
      stored = submission.begin();
    } catch (error) {
      this.#end(() => submission.refuse(error));
      return;
    }
    if (stored === null) {
      this.#end(() => undefined);
      return;
    }
    const last = this.#last;
    if (last?.stored === stored && last.state === "writing") last.submissions.push(submission);
    else this.#wait(groupOf(stored, submission));
  }

  #wait(group: Group): void {
    this.#line.push(group);
    this.#last = group;
    group.stored.then(
      () => {
        group.state = "written";
        this.#proceed();
      },
      (error: unknown) => {
        group.state = "failed";
        group.error = error;
        this.#proceed();
      },
    );
  }

  /** Makes visible what is stored, as far as everything before it is. */
  #proceed(): void {
    for (;;) {
      const group = this.#line.peek();
      if (group === undefined || group.state === "writing") return;
      const submission = group.submissions[group.next];
      if (submission === undefined) {
        this.#line.shift();
        if (this.#last === group) this.#last = null;
        continue;
      }
      group.next += 1;
      this.#left += 1;
      if (group.state === "failed") submission.refuse(group.error);
      else submission.carryOut();
      this.#ended();
    }
  }

  #end(finish: () => void): void {
    this.#left += 1;
    finish();
    this.#ended();
  }

  #ended(): void {
    if (this.length === 0) this.#host.quiet();
  }
}
