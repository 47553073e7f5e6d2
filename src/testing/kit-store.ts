import type { BrokerOptions, Clock } from "../index.js";
import { InvalidArgumentError } from "../index.js";
import type { LevelPersistenceOptions } from "../persistence/index.js";
import { Disk } from "./disk.js";
import type { DiskHost, DiskUser, StoreMachine } from "./disk.js";

/** A store that the kit makes: settings of `levelPersistence`, with or without a folder. */
export interface KitStoreOptions extends Omit<LevelPersistenceOptions, "path" | "machine"> {
  /** A folder, for LevelDB on the machine's disk; absent: everything is in memory, and gone with the test. */
  readonly path?: string | undefined;
}

type Persistence = NonNullable<BrokerOptions["persistence"]>;
type Store = Awaited<ReturnType<Persistence["open"]>>;
type StoreHost = Parameters<Persistence["open"]>[0];
type Recovered = Store["recovered"];

/** What the kit's store tells the kit. */
export interface KitStoreHost extends DiskHost {
  /** It was opened, knows messages up to `lastSeq`, and these of them to be scheduled. */
  opened(lastSeq: number, scheduled: ReadonlySet<number>): void;
  /** The broker's clock as the store gets it: what it schedules is told as its own. */
  clock(clock: Clock): Clock;
}

/** Room kept back in memory for acknowledgements on a full disk: tests have small messages. */
const reserveInMemory = 16 * 1024;

/**
 * The store of a test broker: one that the kit makes, and can crash, or the application's own. It outlives the brokers that
 * open it.
 */
export class KitStore {
  /** The disk of a store that the kit makes. */
  readonly disk: Disk | null;
  readonly #host: KitStoreHost;
  readonly #make: (user: DiskUser) => Persistence;
  #open: Store | null = null;
  /** Messages up to this number are from before a reset: nobody hears of them any more. */
  #hiddenThrough = 0;

  constructor(option: "memory" | KitStoreOptions | Persistence, host: KitStoreHost) {
    this.#host = host;
    if (isPersistence(option)) {
      this.disk = null;
      this.#make = () => option;
      return;
    }
    const { path, ...settings } = optionsOf(option);
    const disk = new Disk(host, path === undefined);
    this.disk = disk;
    this.#make = (user) => ({
      topics: settings.topics ?? [">"],
      open: (storeHost) => disk.during(open(user, storeHost)),
    });
    const open = async (user: DiskUser, storeHost: StoreHost): Promise<Store> => {
      // Loaded here and not above: whoever needs no store does not load LevelDB.
      const { levelPersistence } = await import("../persistence/index.js");
      const persistence = levelPersistence({
        path: path ?? "/store",
        ...(disk.isInMemory ? { compression: "none", reserveBytes: reserveInMemory } : {}),
        ...settings,
        machine: <Machine extends StoreMachine>(real: Machine): Machine => ({
          ...real,
          ...disk.machineFor(user, real),
        }),
      });
      return persistence.open(storeHost);
    };
  }

  /** What the last opening found. */
  get report(): Store["recoveryReport"] | undefined {
    return this.#open?.recoveryReport;
  }

  /** The broker's option. */
  persistenceFor(user: DiskUser): Persistence {
    const persistence = this.#make(user);
    return {
      topics: persistence.topics,
      open: async (host) => {
        const store = this.#view(await persistence.open({ ...host, clock: this.#host.clock(host.clock) }));
        this.#open = store;
        this.#host.opened(store.lastSeq, new Set(store.recovered.delayed.map(({ seq }) => seq)));
        return store;
      },
    };
  }

  /** Hides everything that is stored so far. */
  reset(): void {
    this.#hiddenThrough = this.#open?.lastSeq ?? 0;
  }

  /** The store without what was there before the last reset. */
  #view(store: Store): Store {
    const isSeen = ({ seq }: { readonly seq: number }): boolean => seq > this.#hiddenThrough;
    const { recovered } = store;
    const seen: Recovered = {
      ...recovered,
      delayed: recovered.delayed.filter(isSeen),
      dedup: recovered.dedup.filter(isSeen),
      deadLetters: recovered.deadLetters.filter(({ message }) => isSeen(message)),
      retained: recovered.retained.filter(isSeen),
    };
    const changed: Partial<Store> = {
      append: (steps, level) =>
        store.append(
          steps.map((step) =>
            step.type === "durable" && step.change === "created"
              ? { ...step, position: Math.max(step.position, this.#hiddenThrough + 1) }
              : step,
          ),
          level,
        ),
      replayPages: (patterns, range) => this.#replay(store, patterns, range),
    };
    return new Proxy(store, {
      get: (target, name) => {
        if (name === "recovered") return seen;
        const value: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  }

  async *#replay(
    store: Store,
    patterns: readonly string[],
    range: Parameters<Store["replayPages"]>[1],
  ): ReturnType<Store["replayPages"]> {
    const first = this.#hiddenThrough + 1;
    const { from } = range;
    const isBehind = from === undefined || ("seq" in from && from.seq < first);
    const shown = isBehind ? { ...range, from: { seq: first } } : range;
    for await (const page of store.replayPages(patterns, shown)) yield page.filter(({ seq }) => seq >= first);
  }
}

function optionsOf(option: "memory" | KitStoreOptions): KitStoreOptions {
  if (option === "memory") return {};
  if (typeof option === "object" && (option as unknown) !== null) return option;
  throw new InvalidArgumentError(
    "ERR_INVALID_OPTION",
    `option persistence must be "memory", { path, … } or what levelPersistence returns; got ${JSON.stringify(option)}`,
    { facts: { option: "persistence" } },
  );
}

/** Whether the application brings a store of its own. */
export function isPersistence(option: unknown): option is Persistence {
  return typeof option === "object" && option !== null && typeof (option as Partial<Persistence>).open === "function";
}
