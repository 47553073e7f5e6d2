import { Ring } from "../collections/ring.js";
import { brokerError, quote } from "../errors.js";
import type { TimerEntry } from "../collections/timer-queue.js";
import type { TimerTask } from "../message/delivery.js";

/** Where a transaction that is over ended. */
export type TransactionEnd = "committed" | "rolled back" | "timed out";

/** What was made visible, and what its publisher has to wait for on top. */
export interface Applied {
  readonly settled: Promise<unknown>;
}

/** What the transaction manager needs of the broker around it. */
export interface TransactionHost<Operation> {
  readonly deadlines: {
    after(delayMs: number, task: TimerTask): TimerEntry<TimerTask>;
    cancel(entry: TimerEntry<TimerTask>): void;
  };
  /** Undoes what staging an operation reserved. */
  unstage(operation: Operation): void;
  /**
   * Applies all of them as one, or throws and changes nothing. The operations are still staged; on a throw the
   * transaction rolls back. What is applied stays so, whatever becomes of `settled`: room in full queues.
   */
  apply(operations: readonly Operation[], id: string): Promise<Applied>;
  newId(): string;
}

export interface TransactionSettings {
  readonly timeoutMs: number;
  readonly maxOpen: number;
  readonly maxOperations: number;
}

/**
 * open        takes operations; ends by commit, rollback or its timeout
 * committing  being applied; only the outcome is awaited
 * settled     committed, rolled back or timed out; refuses everything
 */
type State = "open" | "committing" | TransactionEnd;

/** Settled transactions of which the end is remembered, to tell "settled" from "never heard of". */
const endsKept = 10_000;

class OpenTransaction<Operation> implements TimerTask {
  readonly id: string;
  readonly operations: Operation[] = [];
  state: State = "open";
  timer: TimerEntry<TimerTask> | null = null;
  /** What a refused operation threw: without it the transaction would be half of what was meant. */
  failure: { readonly error: unknown } | null = null;
  readonly #onTimeout: () => void;

  constructor(id: string, onTimeout: () => void) {
    this.id = id;
    this.#onTimeout = onTimeout;
  }

  onTimer(): void {
    this.timer = null;
    this.#onTimeout();
  }
}

/**
 * Gathers operations under an id and applies them as one, or not at all.
 *
 * Nothing is visible before commit. A transaction that is neither committed nor rolled back within its time is rolled
 * back, and says so to whoever uses it afterwards.
 */
export class TransactionManager<Operation> {
  readonly #settings: TransactionSettings;
  readonly #host: TransactionHost<Operation>;
  readonly #open = new Map<string, OpenTransaction<Operation>>();
  readonly #ends = new Map<string, TransactionEnd>();
  /** The ids of `#ends`, oldest first: a Map's first key gets slow to find once many before it were deleted. */
  readonly #endedIds = new Ring<string>();
  committed = 0;
  rolledBack = 0;
  timedOut = 0;

  constructor(settings: TransactionSettings, host: TransactionHost<Operation>) {
    this.#settings = settings;
    this.#host = host;
  }

  get openCount(): number {
    return this.#open.size;
  }

  /** Begins a transaction and returns its id. Throws `ERR_TRANSACTION_EXISTS` where that id is taken. */
  begin(id?: string, timeoutMs: number = this.#settings.timeoutMs): string {
    if (id !== undefined && (typeof id !== "string" || id === "")) {
      throw brokerError("ERR_INVALID_OPTION", `a transaction's id must be a text; got ${quote(id)}`, {
        option: "id",
      });
    }
    if (!(typeof timeoutMs === "number" && timeoutMs > 0)) {
      throw brokerError(
        "ERR_INVALID_OPTION",
        `a transaction's timeout must be more than 0 milliseconds; got ${quote(timeoutMs)}`,
        { option: "timeout" },
      );
    }
    const ownId = id ?? this.#host.newId();
    if (this.#open.has(ownId) || this.#ends.has(ownId)) {
      throw brokerError(
        "ERR_TRANSACTION_EXISTS",
        `there is a transaction ${quote(ownId)} already; leave the id out to get a new one`,
        { id: ownId },
      );
    }
    if (this.#open.size >= this.#settings.maxOpen) {
      throw brokerError(
        "ERR_LIMIT_EXCEEDED",
        `${this.#open.size} transactions are open, as many as transactions.maxOpen allows; commit or roll back some first`,
        { limit: "maxOpen", maxOpen: this.#settings.maxOpen },
      );
    }
    const transaction = new OpenTransaction<Operation>(ownId, () => this.#onTimeout(transaction));
    if (timeoutMs !== Infinity) transaction.timer = this.#host.deadlines.after(timeoutMs, transaction);
    this.#open.set(ownId, transaction);
    return ownId;
  }

  isOpen(id: string): boolean {
    return this.#open.get(id)?.state === "open";
  }

  /** Throws what `stage` would throw; for those who prepare an operation first. */
  requireOpen(id: string): void {
    this.#find(id);
  }

  /** Adds an operation to an open transaction. */
  stage(id: string, operation: Operation): void {
    const transaction = this.#find(id);
    if (transaction.operations.length >= this.#settings.maxOperations) {
      throw brokerError(
        "ERR_LIMIT_EXCEEDED",
        `transaction ${quote(id)} has ${transaction.operations.length} operations, as many as transactions.maxOperations allows`,
        { limit: "maxOperations", maxOperations: this.#settings.maxOperations },
      );
    }
    transaction.operations.push(operation);
  }

  /** An operation was refused: commit will roll back and reject with that error, even if nobody looked at it before. */
  spoil(id: string, error: unknown): void {
    const transaction = this.#open.get(id);
    if (transaction?.state === "open") transaction.failure ??= { error };
  }

  /** Applies everything, or rolls everything back and rejects with the reason. */
  async commit(id: string): Promise<void> {
    const transaction = this.#find(id);
    transaction.state = "committing";
    this.#stopTimer(transaction);
    let applied: Applied;
    try {
      if (transaction.failure !== null) throw transaction.failure.error;
      applied = await this.#host.apply(transaction.operations, id);
    } catch (error) {
      this.#undo(transaction, "rolled back");
      this.rolledBack += 1;
      throw error;
    }
    this.committed += 1;
    this.#end(transaction, "committed");
    await applied.settled;
  }

  rollback(id: string): void {
    const transaction = this.#find(id);
    this.#stopTimer(transaction);
    this.#undo(transaction, "rolled back");
    this.rolledBack += 1;
  }

  /** Rolls back everything that is open. */
  close(): void {
    for (const transaction of [...this.#open.values()]) {
      if (transaction.state === "open") this.rollback(transaction.id);
    }
  }

  #find(id: string): OpenTransaction<Operation> {
    const transaction = this.#open.get(id);
    if (transaction?.state === "open") return transaction;
    const end = transaction?.state ?? this.#ends.get(id);
    if (end === undefined) {
      throw brokerError(
        "ERR_TRANSACTION_NOT_FOUND",
        `there is no transaction ${quote(id)}; begin one with beginTransaction`,
        { id },
      );
    }
    if (end === "timed out") {
      throw brokerError(
        "ERR_TRANSACTION_TIMEOUT",
        `transaction ${quote(id)} was rolled back when its time was over; begin another, with a longer timeout`,
        { id },
      );
    }
    throw brokerError("ERR_TRANSACTION_SETTLED", `transaction ${quote(id)} is ${end} already; begin another`, {
      id,
      end,
    });
  }

  #onTimeout(transaction: OpenTransaction<Operation>): void {
    this.timedOut += 1;
    this.#undo(transaction, "timed out");
  }

  #undo(transaction: OpenTransaction<Operation>, end: TransactionEnd): void {
    for (const operation of transaction.operations) this.#host.unstage(operation);
    this.#end(transaction, end);
  }

  #end(transaction: OpenTransaction<Operation>, end: TransactionEnd): void {
    transaction.state = end;
    transaction.operations.length = 0;
    this.#open.delete(transaction.id);
    this.#ends.set(transaction.id, end);
    this.#endedIds.push(transaction.id);
    if (this.#endedIds.length > endsKept) this.#ends.delete(this.#endedIds.shift() as string);
  }

  #stopTimer(transaction: OpenTransaction<Operation>): void {
    if (transaction.timer !== null) this.#host.deadlines.cancel(transaction.timer);
    transaction.timer = null;
  }
}
