const ended: IteratorReturnResult<undefined> = { value: undefined, done: true };

/**
 * Goes through items that come in pages, as an async generator over them would: one at a time, in order, ended by whatever
 * throws, and by `return`. An item of a page that is there already costs one promise that is fulfilled, and not the three
 * or more that a generator of a generator makes for each (docs/design/0020-store.md).
 */
export class PageIterator<Raw, Item> implements AsyncGenerator<Item, void, undefined> {
  readonly #pages: AsyncGenerator<readonly Raw[], void, undefined>;
  readonly #itemOf: (raw: Raw) => Item | undefined;
  #page: readonly Raw[] = [];
  #at = 0;
  #isEnded = false;
  /** Calls that wait for a page, or for those before them. */
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** @param itemOf - makes an item when it is asked for; undefined leaves it out, what it throws ends the iteration */
  constructor(pages: AsyncGenerator<readonly Raw[], void, undefined>, itemOf: (raw: Raw) => Item | undefined) {
    this.#pages = pages;
    this.#itemOf = itemOf;
  }

  next(): Promise<IteratorResult<Item, undefined>> {
    if (this.#waiting > 0 || this.#at >= this.#page.length) return this.#inTurn(() => this.#advance());
    try {
      const taken = this.#take();
      return taken === null ? this.#inTurn(() => this.#advance()) : Promise.resolve(taken);
    } catch (error) {
      return this.#inTurn(() => this.#fail(error));
    }
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    return this.#inTurn(() => this.#end());
  }

  throw(error: unknown): Promise<IteratorReturnResult<undefined>> {
    return this.#inTurn(() => this.#fail(error));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next item of the page; null where none is left in it. */
  #take(): IteratorYieldResult<Item> | null {
    while (this.#at < this.#page.length) {
      const value = this.#itemOf(this.#page[this.#at] as Raw);
      this.#at += 1;
      if (value !== undefined) return { value, done: false };
    }
    return null;
  }

  async #advance(): Promise<IteratorResult<Item, undefined>> {
    for (;;) {
      try {
        const taken = this.#take();
        if (taken !== null) return taken;
      } catch (error) {
        return this.#fail(error);
      }
      if (this.#isEnded) return ended;
      // A page that has been handed out is let go of before the next is read.
      this.#page = [];
      this.#at = 0;
      const page = await this.#pages.next();
      if (page.done === true) this.#isEnded = true;
      else this.#page = page.value;
    }
  }

  async #fail(error: unknown): Promise<never> {
    await this.#end();
    throw error;
  }

  async #end(): Promise<IteratorReturnResult<undefined>> {
    this.#isEnded = true;
    this.#page = [];
    this.#at = 0;
    await this.#pages.return();
    return ended;
  }

  /** Calls do not overtake each other. */
  #inTurn<Result>(run: () => Promise<Result>): Promise<Result> {
    this.#waiting += 1;
    const turn = this.#last.then(run);
    const over = (): void => {
      this.#waiting -= 1;
    };
    this.#last = turn.then(over, over);
    return turn;
  }
}
